"""The requests and answers in the OpenAPI document, which `/openapi.json` serves."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_CORNERS = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
_IMAGE = {
    "anyOf": [
        {"type": "object", "required": ["b64"], "properties": {"b64": {**_TEXT, "contentEncoding": "base64"}}},
        {"type": "object", "required": ["url"], "properties": {"url": {**_TEXT, "description": "Where allowed."}}},
    ]
}
_INSTANCE = {"type": "object", "required": ["image", "entity"], "properties": {"image": _IMAGE, "entity": _TEXT}}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"enum": ["image", "entity"]},
        "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        "datatype": {"const": "BYTES"},
        "data": {"type": "array", "items": _TEXT, "minItems": 1},
    },
}
_PART = {
    "anyOf": [
        {
            "type": "object",
            "required": ["type", "text"],
            "properties": {"type": {"const": "text"}, "text": _TEXT},
        },
        {
            "type": "object",
            "required": ["type", "image_url"],
            "properties": {
                "type": {"const": "image_url"},
                "image_url": {"type": "object", "required": ["url"], "properties": {"url": _TEXT}},
            },
        },
    ]
}
_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": ["user", "assistant"]},
        "content": {"anyOf": [_TEXT, {"type": "array", "items": _PART, "minItems": 1}]},
    },
}


def _body(required: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": [required], "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


PREDICT = _body("instances", instances={"type": "array", "items": _INSTANCE, "minItems": 1})
INFER = _body("inputs", id=_TEXT, inputs={"type": "array", "items": _TENSOR, "minItems": 2})
CHAT = _body(
    "messages",
    model={"const": "deepperception"},
    messages={"type": "array", "items": _MESSAGE, "minItems": 1},
    entity={**_TEXT, "description": "An addition: the name to find, in the place of a text."},
    stream={"type": "boolean"},
    stream_options={"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
    max_tokens={"type": "integer", "minimum": 1},
    temperature={"type": "number", "minimum": 0, "maximum": 2},
    seed={"type": "integer", "minimum": 0},
)

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}, "additionalProperties": False}
_MEANING = {
    400: "Not understood.",
    401: "The token is missing or wrong.",
    408: "The body arrives too slowly.",
    413: "Too large.",
    422: "Understood, and impossible.",
    429: "Busy; come back after Retry-After.",
    500: "The model failed.",
    503: "Not ready, stopping, or out of time; come back after Retry-After.",
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "What was found.", "content": {"application/json": {"schema": {"type": "object"}}}},
    **{
        status: {"description": meaning, "content": {"application/json": {"schema": _ERROR}}}
        for status, meaning in _MEANING.items()
    },
}
