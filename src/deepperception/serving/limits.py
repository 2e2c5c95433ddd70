"""What the server takes on, and how it says no: in one sentence, with a status code."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

NOT_UNDERSTOOD, NO_TOKEN, TOO_SLOW, TOO_LARGE, IMPOSSIBLE = 400, 401, 408, 413, 422
BUSY, FAILED, UNAVAILABLE = 429, 500, 503


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and all of them together; checked before a picture is decoded."""

    body_bytes: int = 64 * MIB
    picture_bytes: int = 20 * MIB
    picture_pixels: int = 50_000_000
    request_pixels: int = 100_000_000
    """Of all its pictures, which the engine holds decoded: up to four bytes a pixel, whatever their files weigh."""
    entity_characters: int = 200
    text_characters: int = 20_000
    """Of all messages of a chat together."""
    reply_tokens: int = 2_048
    """What a chat may ask for as `max_tokens`; KServe's protocols reply as long as the model's interface says."""
    instances: int = 32
    waiting: int = 64
    """Requests that have arrived whole and are not answered yet; the next one is told to come back."""
    request_s: float = 300.0
    """From a request's last byte to its answer; what takes longer is given up."""
    uploads: int = 256
    """Bodies on their way at once. One more, and the slowest of them gives way."""
    buffered_bytes: int = 512 * MIB
    """Of all bodies in the server, on their way or waiting."""
    upload_s: float = 120.0
    """Longest time that a body may take to arrive."""
    upload_grace_s: float = 5.0
    upload_bytes_per_s: int = 16 * 1024
    """What a body must arrive with, on average, once the grace is over."""
    headers_s: float = 20.0
    """From a connection's beginning to its first request; the line is cut where none comes."""


@dataclass(frozen=True)
class Batching:
    """How requests that wait are decoded together. Of the transformers engine: vLLM batches by itself."""

    max_batch: int = 16
    max_wait_s: float = 0.01
    """How long the first of a batch waits for company. The engine's work on the batch before is company enough."""
    max_pixels: int = 100_000_000
    """Of a batch's pictures together, as they come: they are decoded at the same time."""


class Refusal(Exception):
    """A request that gets no answer: `status` is the HTTP code, `sentence` what is wrong and what to do."""

    def __init__(self, status: int, sentence: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.headers: dict[str, str] = {}
        if retry_after_s is not None:
            self.headers["retry-after"] = str(retry_after_s)
        if status == NO_TOKEN:
            self.headers["www-authenticate"] = "Bearer"


@dataclass
class Noted:
    """What a request's log line and metrics say beyond its address; filled in on its way."""

    instances: int = 0
    boxes: int = 0
    unread: int = 0
    queued_s: float = 0.0
    batch: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
