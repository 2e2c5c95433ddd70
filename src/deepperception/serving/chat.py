"""OpenAI's chat completions, for one picture and what is asked about it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepperception.artifacts.checkpoints import Interface
from deepperception.grounding import question, render
from deepperception.grounding.prompts import REF_END, REF_START
from deepperception.inference.engine import Decoding, Request
from deepperception.serving.limits import IMPOSSIBLE, NOT_UNDERSTOOD, Limits, Refusal
from deepperception.serving.requests import Fetch, checked_entity, decoded, parsed, size_of

EXPECTED = (
    '{"messages": [{"role": "user", "content": ['
    '{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}, '
    '{"type": "text", "text": "..."}]}]}'
)
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+(?:;[a-z-]+=[^;,]*)*;base64,", re.IGNORECASE)
# The only special tokens that words may hold: those by which Qwen2-VL names an object and its box.
_NAMING = re.compile(rf"{re.escape(REF_START)}|{re.escape(REF_END)}|<\|box_start\|>|<\|box_end\|>")
# What would change the answer and is not done here; each with the value that changes nothing.
_FIXED: dict[str, Sequence[Any]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "stop": ([],),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
}


@dataclass(frozen=True, slots=True)
class Chat:
    """What a client wants to hear, and how."""

    request: Request
    decoding: Decoding
    size: tuple[int, int]
    stream: bool
    include_usage: bool

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def read_chat(body: bytes, limits: Limits, interface: Interface, fetch: Fetch) -> Chat:
    """A chat request; Refusal says what cannot be done.

    Text goes to the model as it is. With the key `entity`, an addition of this server, the question about that name is
    put as the model's interface wants it, and the message holds the picture alone.
    """
    payload = parsed(body, EXPECTED)
    if not isinstance(payload, Mapping) or not isinstance(payload.get("messages"), list) or not payload["messages"]:
        raise Refusal(NOT_UNDERSTOOD, f"the body has no list 'messages'; send {EXPECTED}.")
    if payload.get("model", "deepperception") != "deepperception":
        raise Refusal(NOT_UNDERSTOOD, "there is no such model; it is called deepperception.")
    for key, harmless in _FIXED.items():
        if payload.get(key) is not None and payload[key] not in harmless:
            raise Refusal(IMPOSSIBLE, f"'{key}' cannot be chosen here; leave it out.")
    texts, image, size = _conversation(payload["messages"], limits, fetch)
    if (entity := payload.get("entity")) is not None:
        if len(texts) != 1 or texts[0].strip():
            raise Refusal(
                NOT_UNDERSTOOD, "send either 'entity' or a text, and 'entity' in one message with the picture."
            )
        texts = [render(interface.prompt, question(checked_entity(entity, "entity", limits)))]
    _check_texts(texts, limits)
    before = tuple(zip(texts[:-1:2], texts[1::2], strict=True))
    stream, options = _flag(payload, "stream"), payload.get("stream_options")
    usage = _flag(options, "include_usage") if isinstance(options, Mapping) else False
    return Chat(Request(texts[-1], image, before=before), _decoding(payload, limits, interface), size, stream, usage)


def _conversation(messages: Sequence[Any], limits: Limits, fetch: Fetch) -> tuple[list[str], bytes, tuple[int, int]]:
    """The turns' texts, user and assistant by turns, and the picture that came with the first."""
    texts, images = [], []
    for number, message in enumerate(messages):
        where = f"message {number}"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role != ("assistant" if number % 2 else "user"):
            raise Refusal(
                NOT_UNDERSTOOD, f"{where} is not the {'assistant' if number % 2 else 'user'}'s; they take turns."
            )
        parts = message.get("content")
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
            raise Refusal(NOT_UNDERSTOOD, f"{where}: 'content' is neither a text nor a list of parts; send {EXPECTED}.")
        texts.append("".join(_text(part, where) for part in parts if part.get("type") != "image_url"))
        images += [(number, part) for part in parts if part.get("type") == "image_url"]
    if len(messages) % 2 == 0:
        raise Refusal(NOT_UNDERSTOOD, "the last message is the assistant's; end with a question.")
    if [number for number, _ in images] != [0]:
        raise Refusal(IMPOSSIBLE, "the chat is about one picture, which comes with the first message; send just that.")
    image = _image(images[0][1].get("image_url"), limits, fetch)
    return texts, image, size_of(image, "the picture", limits, limits.request_pixels)


def _text(part: Mapping[str, Any], where: str) -> str:
    if part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise Refusal(NOT_UNDERSTOOD, f"{where}: a part is neither a text nor an image_url; send {EXPECTED}.")
    return str(part["text"])


def _image(address: Any, limits: Limits, fetch: Fetch) -> bytes:
    url = address.get("url") if isinstance(address, Mapping) else address
    if not isinstance(url, str):
        raise Refusal(NOT_UNDERSTOOD, f"'image_url' has no text 'url'; send {EXPECTED}.")
    if not url.startswith("data:"):
        return fetch(url, "the picture")
    if not (head := _DATA_URL.match(url[:200])):
        raise Refusal(NOT_UNDERSTOOD, "the picture's data URL does not begin with data:image/...;base64, as it must.")
    return decoded(url[head.end() :], "the picture", limits)


def _check_texts(texts: Sequence[str], limits: Limits) -> None:
    if sum(map(len, texts)) > limits.text_characters:
        raise Refusal(IMPOSSIBLE, f"the messages are longer than {limits.text_characters:,} characters; say less.")
    if any("<|" in _NAMING.sub("", text) for text in texts):
        raise Refusal(
            IMPOSSIBLE, "a message holds a special token ('<|'); only those around a name and a box are read."
        )
    if not texts[-1].strip():
        raise Refusal(NOT_UNDERSTOOD, "the last message asks nothing; give a text, or the key 'entity' with a name.")


def _decoding(payload: Mapping[str, Any], limits: Limits, interface: Interface) -> Decoding:
    tokens = payload.get("max_completion_tokens", payload.get("max_tokens"))
    tokens = interface.max_new_tokens if tokens is None else tokens
    most = max(limits.reply_tokens, interface.max_new_tokens)
    if not _is_number(tokens, int) or not 1 <= tokens <= most:
        raise Refusal(IMPOSSIBLE, f"'max_tokens' is no whole number from 1 to {most}; choose another.")
    temperature = payload.get("temperature")
    temperature = 0.0 if temperature is None else temperature
    if not _is_number(temperature, (int, float)) or not 0 <= temperature <= 2:
        raise Refusal(IMPOSSIBLE, "'temperature' is no number from 0 to 2; choose another.")
    seed = payload.get("seed")
    seed = 0 if seed is None else seed
    if not _is_number(seed, int) or not 0 <= seed < 2**31:
        raise Refusal(IMPOSSIBLE, "'seed' is no whole number from 0 to 2147483647; choose another.")
    return Decoding(tokens, float(temperature), seed=seed)


def _is_number(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _flag(payload: Mapping[str, Any], key: str) -> bool:
    value = payload.get(key)
    if value is not None and not isinstance(value, bool):
        raise Refusal(NOT_UNDERSTOOD, f"'{key}' is neither true nor false; choose one.")
    return bool(value)


def data_url(image: bytes, kind: str = "png") -> str:
    """A picture's file as the address that a chat carries."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
