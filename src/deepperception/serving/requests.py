"""Reads a v1 request, and refuses what cannot be served in one sentence and a status code."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from deepperception.errors import InputError
from deepperception.grounding import question
from deepperception.inference.images import MAX_ASPECT, PictureTooLarge, PictureTooThin, examine
from deepperception.serving.finder import Query

NOT_UNDERSTOOD, TOO_LARGE, IMPOSSIBLE, BUSY, FAILED = 400, 413, 422, 429, 500

EXPECTED = '{"instances": [{"image": {"b64": "..."}, "entity": "..."}]}'


@dataclass(frozen=True)
class Limits:
    """What one request may ask for; everything is checked before a picture is decoded."""

    body_bytes: int = 64 * 2**20
    picture_bytes: int = 20 * 2**20
    picture_pixels: int = 50_000_000
    request_pixels: int = 100_000_000
    """Of all its pictures, which the engine holds decoded: up to four bytes a pixel, whatever their files weigh."""
    entity_characters: int = 200
    instances: int = 32
    waiting: int = 64
    """Requests in the server at once, from their first byte; the next one is told to come back."""


class Refusal(Exception):
    """A request that gets no prediction: `status` is the HTTP code, `sentence` what is wrong and what to do."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def read_queries(payload: object, limits: Limits) -> list[Query]:
    """The queries of a v1 body, as bytes or already parsed; Refusal names the instance (counted from 0) at fault."""
    if isinstance(payload, bytes):
        payload = _parsed(payload)
    if not isinstance(payload, Mapping) or not isinstance(payload.get("instances"), list):
        raise Refusal(NOT_UNDERSTOOD, f"the body has no list 'instances'; send {EXPECTED}.")
    instances = payload["instances"]
    if not instances:
        raise Refusal(NOT_UNDERSTOOD, f"'instances' is empty; send {EXPECTED}.")
    if len(instances) > limits.instances:
        raise Refusal(
            TOO_LARGE, f"the request has {len(instances)} instances; send at most {limits.instances} at once."
        )
    queries, pixels = [], 0
    for index, instance in enumerate(instances):
        query = _query(instance, f"instance {index}", limits, limits.request_pixels - pixels)
        pixels += query.size[0] * query.size[1]
        queries.append(query)
    return queries


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise Refusal(NOT_UNDERSTOOD, f"the body is not JSON ({error}); send {EXPECTED}.") from None


def _query(instance: object, where: str, limits: Limits, pixels_left: int) -> Query:
    if not isinstance(instance, Mapping):
        raise Refusal(NOT_UNDERSTOOD, f"{where} is no object; send {EXPECTED}.")
    entity = _entity(instance.get("entity"), where, limits)
    image = _image(instance.get("image"), where, limits)
    return Query(image, _size(image, where, limits, pixels_left), entity)


def _entity(entity: object, where: str, limits: Limits) -> str:
    if not isinstance(entity, str):
        raise Refusal(NOT_UNDERSTOOD, f"{where}: 'entity' is missing or no text; give the name of what to find.")
    if len(entity) > limits.entity_characters:
        raise Refusal(
            IMPOSSIBLE, f"{where}: 'entity' is longer than {limits.entity_characters} characters; give a name."
        )
    try:
        question(entity)
    except InputError as error:
        raise Refusal(IMPOSSIBLE, f"{where}: {error}") from None
    return entity.strip()


def _image(image: object, where: str, limits: Limits) -> bytes:
    encoded = image.get("b64") if isinstance(image, Mapping) else None
    if not isinstance(encoded, str):
        raise Refusal(NOT_UNDERSTOOD, f"{where}: 'image' is missing or has no text 'b64'; send {EXPECTED}.")
    # Four characters carry three bytes: the length says the size before anything is decoded.
    if len(encoded) * 3 // 4 > limits.picture_bytes + 2:
        raise Refusal(
            TOO_LARGE, f"{where}: the picture is larger than {limits.picture_bytes:,} bytes; send a smaller one."
        )
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            NOT_UNDERSTOOD, f"{where}: 'b64' is not base64; encode the bytes of the picture's file."
        ) from None


def _size(image: bytes, where: str, limits: Limits, pixels_left: int) -> tuple[int, int]:
    try:
        max_pixels = min(limits.picture_pixels, pixels_left)
        return examine(image, max_pixels=max_pixels, max_aspect=MAX_ASPECT, name=where).upright
    except PictureTooLarge as error:
        if pixels_left >= limits.picture_pixels:
            raise Refusal(TOO_LARGE, str(error)) from None
        too_many = f"from here on the request's pictures have more than {limits.request_pixels:,} pixels together"
        raise Refusal(TOO_LARGE, f"{where}: {too_many}; send fewer or smaller ones at once.") from None
    except PictureTooThin as error:
        raise Refusal(IMPOSSIBLE, str(error)) from None
    except InputError as error:
        raise Refusal(NOT_UNDERSTOOD, str(error)) from None
