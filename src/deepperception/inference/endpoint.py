"""Where an OpenAI-compatible server is."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from deepperception.settings import Settings

KEY_VARIABLE = "OPENAI_API_KEY"


class Endpoint(Settings):
    """Where a model is served, and how hard it may be asked."""

    url: str = Field(description="Up to the version: http://127.0.0.1:8080/openai/v1. The key is in OPENAI_API_KEY.")
    model: str = Field(default="deepperception", min_length=1, description="The name that the server serves it under.")
    concurrency: PositiveInt = Field(default=16, le=1024, description="Requests at a time.")
    timeout_s: PositiveFloat = Field(default=300.0, description="Longest wait for the next piece of an answer.")
    deadline_s: PositiveFloat = Field(default=900.0, description="Longest time for one question, retries included.")

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address such as http://127.0.0.1:8080/openai/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(f"an address is recorded with every score; put the key into {KEY_VARIABLE}")
        return url.rstrip("/")
