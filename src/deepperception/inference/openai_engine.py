"""Any OpenAI-compatible server as an engine: several questions at a time, their replies in order."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from deepperception.errors import InfrastructureError, InputError
from deepperception.inference.ahead import ahead
from deepperception.inference.caller import Caller
from deepperception.inference.endpoint import Endpoint
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import MAX_ASPECT, examine, open_image

# What every server takes as it is. Anything else is sent as PNG.
_MIME = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_UPRIGHT = 1
_AHEAD = 4  # times the concurrency: one slow answer keeps no other request waiting for long


class OpenAIEngine:
    """Asks `endpoint` for chat completions, with the picture as a data URL. `say` is told about an unwell server."""

    def __init__(self, endpoint: Endpoint, *, say: Callable[[str], None] = lambda _: None) -> None:
        self.endpoint, self._say = endpoint, say
        # The server does not say what runs there, and in which number format.
        self.backend = {
            "engine": "openai",
            "version": None,
            "dtype": None,
            "endpoint": endpoint.url,
            "model": endpoint.model,
        }

    def generate(self, requests: Iterable[Request], decoding: Decoding) -> Iterator[list[str]]:
        """Replies in request order; a request for each reply, `concurrency` of them at a time."""
        caller = Caller(self.endpoint, self._say)
        concurrency = self.endpoint.concurrency
        numbered = enumerate(requests)

        def answered(each: tuple[int, Request]) -> list[str]:
            try:
                picture = data_url(each[1])
            except InputError:
                if each[1].or_nothing:
                    return []
                raise
            bodies = chat_bodies(each[1], decoding, self.endpoint.model, picture, place=each[0])
            return [self._reply(caller.post(body, name=each[1].name)) for body in bodies]

        answers = ahead(answered, numbered, workers=concurrency, at_most=_AHEAD * concurrency)
        try:
            yield from answers
        finally:
            caller.stop()
            answers.close()

    def _reply(self, answer: Any) -> str:
        try:
            message = answer["choices"][0]["message"]
            content = message.get("content") or ""
            # Some servers take the thinking out of the reply; scores and reports look for it there.
            thought = message.get("reasoning_content") or message.get("reasoning")
            return f"<think>{thought}</think>{content}" if thought else str(content)
        except (LookupError, TypeError, AttributeError):
            raise InfrastructureError(
                f"{self.endpoint.url}: the answer is no chat completion; check the address."
            ) from None


def chat_bodies(
    request: Request, decoding: Decoding, model: str, picture: str, *, place: int
) -> Iterator[dict[str, Any]]:
    """What is posted for each reply. One reply a request: not every server draws several."""
    messages: list[dict[str, Any]] = []
    for role, text, shows in request.turns():
        shown = [{"type": "image_url", "image_url": {"url": picture}}] if shows else []
        messages.append({"role": role, "content": [*shown, {"type": "text", "text": text}] if role == "user" else text})
    seed = decoding.seed * 1_000_003 + place if request.seed is None else request.seed
    for number in range(decoding.samples):
        yield {
            "model": model,
            "messages": messages,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": 1.0,
            "seed": (seed * decoding.samples + number) % 2**31,
        }


def data_url(request: Request) -> str:
    """The picture as it is where every server reads it alike, else upright and as PNG; InputError where it is none."""
    data, mime = request.image, next((mime for sign, mime in _MIME.items() if request.image.startswith(sign)), None)
    if mime is None or examine(data, max_aspect=MAX_ASPECT, name=request.name).orientation != _UPRIGHT:
        buffer = io.BytesIO()
        open_image(data, max_aspect=MAX_ASPECT, name=request.name).save(buffer, "PNG")
        data, mime = buffer.getvalue(), "image/png"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
