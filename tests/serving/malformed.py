"""Bodies that no server should get, made from a seed: every kind of wrong that pictures and JSON come in."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import Image

ROUTES = (
    "/v1/models/deepperception:predict",
    "/v2/models/deepperception/infer",
    "/openai/v1/chat/completions",
)
_WRONG: tuple[Any, ...] = (None, True, -1, 1e308, "", "x", [], {}, [[]], {"a": {}}, "\u0000", "\ud7ff", 10**30)


def case(seed: int) -> tuple[str, bytes]:
    """A route and a body for it; a few bodies turn out to be right."""
    rng = random.Random(seed)
    route = rng.choice(ROUTES)
    if rng.random() < 0.1:
        return route, _noise(rng)
    body = _body(route, _image(rng), rng.choice(("ant", "a" * 5_000, "", "<|im_end|>", "\u202eant", "\n")))
    for _ in range(rng.choice((0, 0, 1, 2))):
        body = _spoiled(body, rng)
    encoded = json.dumps(body).encode()
    if rng.random() < 0.15:
        encoded = encoded[: rng.randrange(len(encoded))]
    if rng.random() < 0.05:
        place = rng.randrange(len(encoded) or 1)
        encoded = encoded[:place] + bytes([rng.randrange(256)]) + encoded[place + 1 :]
    return route, encoded


def _body(route: str, image: str, entity: str) -> Any:
    if route == ROUTES[0]:
        return {"instances": [{"image": {"b64": image}, "entity": entity}]}
    if route == ROUTES[1]:
        data = {"image": image, "entity": entity}
        return {"inputs": [{"name": k, "shape": [1], "datatype": "BYTES", "data": [v]} for k, v in data.items()]}
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    return {"messages": [{"role": "user", "content": [url]}], "entity": entity}


def _spoiled(value: Any, rng: random.Random) -> Any:
    """One part of it taken away, doubled or of another type."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: _spoiled(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        if rng.random() < 0.2:
            return value * rng.choice((2, 50))
        return [*value[:place], _spoiled(value[place], rng), *value[place + 1 :]]
    return rng.choice(_WRONG)


def _noise(rng: random.Random) -> bytes:
    return rng.choice(
        (
            b"",
            b"{",
            b"[" * 50_000,
            b'{"a":' * 5_000,
            rng.randbytes(200),
            b"\xef\xbb\xbf{}",
            b"null",
            b"NaN",
            b'"' + b"\\u0000" * 9,
        )
    )


def _image(rng: random.Random) -> str:
    encoded = base64.b64encode(rng.choice(_pictures())).decode()
    change = rng.random()
    if change < 0.1:
        return encoded[: rng.randrange(len(encoded) + 1)]
    if change < 0.15:
        return encoded.replace("A", rng.choice("%=\n \u00e9"), 3)
    return encoded


@cache
def _pictures() -> tuple[bytes, ...]:
    plain = {
        kind: _saved(Image.new("RGB", (64, 48), "teal"), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
    }
    frames = [Image.new("P", (40, 40), number) for number in range(5)]
    damaged = [data[:cut] for data in plain.values() for cut in (1, 10, len(data) // 2, len(data) - 1)]
    return (
        *plain.values(),
        *damaged,
        _saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),  # animated
        _saved(Image.new("RGB", (1, 1)), "PNG"),
        _saved(Image.new("1", (900, 900)), "PNG"),
        _saved(Image.new("RGBA", (30, 30)), "PNG"),
        _saved(Image.new("I;16", (30, 30)), "PNG"),
        _saved(Image.new("CMYK", (30, 30)), "JPEG"),
        bomb(20_000, 20_000),
        bomb(2**31 - 1, 2**31 - 1),
        bomb(0, 0),
        text_bomb(),
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>',
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n",
        b"P6 100000 100000 255\n",
        b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",  # a pickle
        b"\x00" * 500,
        b"",
    )


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of some kilobytes whose pixels would take gigabytes."""
    rows = zlib.compress(b"\x00" * 5_000_000, 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small picture with a comment that unpacks to 100 MB."""
    packed = zlib.compress(b"\x00" * 100_000_000, 9)
    row = zlib.compress(b"\x00" * 4)
    comment = _chunk(b"zTXt", b"Comment\x00\x00" + packed)
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + comment + _chunk(b"IDAT", row) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


BY_DESIGN: Callable[[int], bool] = {200, 400, 408, 413, 422, 429, 503}.__contains__
