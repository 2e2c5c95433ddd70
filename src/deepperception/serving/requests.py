"""Reads a v1 request and its pictures, and refuses what cannot be served in one sentence and a status code."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from deepperception.errors import InputError
from deepperception.grounding import question
from deepperception.inference.images import MAX_ASPECT, PictureTooLarge, PictureTooThin, examine
from deepperception.serving.finder import Query
from deepperception.serving.limits import IMPOSSIBLE, NOT_UNDERSTOOD, TOO_LARGE, Limits, Refusal

EXPECTED = '{"instances": [{"image": {"b64": "..."}, "entity": "..."}]}'


Fetch = Callable[[str, str], bytes]


def no_fetch(url: str, where: str) -> bytes:
    """For a server without an allow-list."""
    raise Refusal(IMPOSSIBLE, f"{where}: this server fetches no pictures; send the picture itself, as base64.")


def read_queries(body: bytes, limits: Limits, fetch: Fetch = no_fetch) -> list[Query]:
    """The queries of a v1 body; Refusal names the instance (counted from 0) at fault."""
    payload = parsed(body, EXPECTED)
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
        query = _query(instance, f"instance {index}", limits, limits.request_pixels - pixels, fetch)
        pixels += query.pixels
        queries.append(query)
    return queries


def parsed(body: bytes, expected: str) -> Any:
    """The JSON of a body; `expected` is what to send instead."""
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise Refusal(NOT_UNDERSTOOD, f"the body is not JSON ({error}); send {expected}.") from None


def _query(instance: object, where: str, limits: Limits, pixels_left: int, fetch: Fetch) -> Query:
    if not isinstance(instance, Mapping):
        raise Refusal(NOT_UNDERSTOOD, f"{where} is no object; send {EXPECTED}.")
    entity = checked_entity(instance.get("entity"), where, limits)
    image = _image(instance.get("image"), where, limits, fetch)
    return Query(image, size_of(image, where, limits, pixels_left), entity)


def checked_entity(entity: object, where: str, limits: Limits) -> str:
    """The name of what to find."""
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


def _image(image: object, where: str, limits: Limits, fetch: Fetch) -> bytes:
    if isinstance(image, Mapping) and isinstance(image.get("url"), str) and "b64" not in image:
        return fetch(image["url"], where)
    encoded = image.get("b64") if isinstance(image, Mapping) else None
    if not isinstance(encoded, str):
        raise Refusal(NOT_UNDERSTOOD, f"{where}: 'image' is missing or has no text 'b64'; send {EXPECTED}.")
    return decoded(encoded, where, limits)


def decoded(encoded: str, where: str, limits: Limits) -> bytes:
    """The bytes of a picture's file, from base64."""
    # Four characters carry three bytes: the length says the size before anything is decoded.
    if len(encoded) * 3 // 4 > limits.picture_bytes + 2:
        raise Refusal(
            TOO_LARGE, f"{where}: the picture is larger than {limits.picture_bytes:,} bytes; send a smaller one."
        )
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            NOT_UNDERSTOOD, f"{where}: the picture is not base64; encode the bytes of the picture's file."
        ) from None


def size_of(image: bytes, where: str, limits: Limits, pixels_left: int) -> tuple[int, int]:
    """The picture's upright size, once it was read to its end."""
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
