"""KServe's v2 protocol: tensors of pictures and names in, tensors of boxes and texts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepperception.serving.finder import Prediction, Query
from deepperception.serving.limits import NOT_UNDERSTOOD, TOO_LARGE, Limits, Refusal
from deepperception.serving.requests import checked_entity, decoded, parsed, size_of

EXPECTED = (
    '{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["<base64>"]}, '
    '{"name": "entity", "shape": [1], "datatype": "BYTES", "data": ["..."]}]}'
)
_NAMES = ("image", "entity")


def read_tensors(body: bytes, limits: Limits) -> tuple[str | None, list[Query]]:
    """The request's own id, and its queries; Refusal names what is wrong. Tensors hold pictures."""
    payload = parsed(body, EXPECTED)
    if not isinstance(payload, Mapping) or not isinstance(payload.get("inputs"), list):
        raise Refusal(NOT_UNDERSTOOD, f"the body has no list 'inputs'; send {EXPECTED}.")
    given = [each for each in payload["inputs"] if isinstance(each, Mapping)]
    found = (next((each for each in given if each.get("name") == name), None) for name in _NAMES)
    images, entities = (_texts(tensor, name, limits) for tensor, name in zip(found, _NAMES, strict=True))
    if len(images) != len(entities):
        raise Refusal(NOT_UNDERSTOOD, f"there are {len(images)} images and {len(entities)} names; send one name each.")
    queries, pixels = [], 0
    for index, (image, entity) in enumerate(zip(images, entities, strict=True)):
        where = f"element {index}"
        name, picture = checked_entity(entity, where, limits), decoded(image, where, limits)
        queries.append(Query(picture, size_of(picture, where, limits, limits.request_pixels - pixels), name))
        pixels += queries[-1].pixels
    identity = payload.get("id")
    return identity if isinstance(identity, str) else None, queries


def tensors_of(predictions: Sequence[Prediction], identity: str | None) -> dict[str, Any]:
    """The response's body. A box that was not found is four nulls, which clients read as NaN: JSON has none."""
    corners = [corner for each in predictions for corner in (each.box or (None,) * 4)]
    count = len(predictions)
    answer = {
        "model_name": "deepperception",
        "outputs": [
            {"name": "box", "shape": [count, 4], "datatype": "FP32", "data": corners},
            {"name": "text", "shape": [count], "datatype": "BYTES", "data": [each.text for each in predictions]},
        ],
    }
    return answer if identity is None else {**answer, "id": identity}


def _texts(tensor: Any, name: str, limits: Limits) -> list[str]:
    if not isinstance(tensor, Mapping):
        raise Refusal(NOT_UNDERSTOOD, f"the input '{name}' is missing; send {EXPECTED}.")
    if tensor.get("datatype") != "BYTES":
        raise Refusal(NOT_UNDERSTOOD, f"input '{name}': the datatype is not BYTES; send {EXPECTED}.")
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Refusal(NOT_UNDERSTOOD, f"input '{name}' has no list 'data'; binary tensors are not read, send JSON.")
    # [N, 1] is what some clients make of N texts.
    values = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
    if not values or not all(isinstance(value, str) for value in values):
        raise Refusal(NOT_UNDERSTOOD, f"input '{name}': 'data' is not a list of texts; send {EXPECTED}.")
    if tensor.get("shape") not in ([len(values)], [len(values), 1]):
        raise Refusal(NOT_UNDERSTOOD, f"input '{name}': the shape is not [{len(values)}], the length of its data.")
    if len(values) > limits.instances:
        raise Refusal(TOO_LARGE, f"input '{name}' has {len(values)} elements; send at most {limits.instances} at once.")
    return values
