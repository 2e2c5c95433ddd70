"""One prediction, from a checkpoint folder or from a server."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepperception.artifacts.disk import replacing, reporting_full_disk
from deepperception.errors import InfrastructureError, InputError
from deepperception.evaluation.drawing import RIGHT, Mark, draw_boxes
from deepperception.grounding import question
from deepperception.inference.engine import Engine
from deepperception.inference.images import examine, open_image
from deepperception.serving.finder import Finder, PixelBox, Prediction, Query

_PATH = "/v1/models/deepperception:predict"
_TIMEOUT_S = 300.0
_OUR_FAULT = (400, 404, 413, 422)


def predict(
    model: str,
    image: Path,
    entity: str,
    *,
    draw: Path | None = None,
    open_engine: Callable[..., Engine] | None = None,
) -> Prediction:
    """Finds `entity` on the picture `image`. `model` is a checkpoint folder, or the http(s) address of a server.

    `draw` is where the picture with the box on it is written (PNG, JPEG or WebP by its name); without a box it is the
    picture alone. InputError where the folder, the picture or the name cannot be used, InfrastructureError where the
    server does not answer.
    """
    size = examine(image).upright
    question(entity)
    if draw is not None:
        _format_of(draw)
    query = Query(image.read_bytes(), size, entity)
    is_url = model.startswith(("http://", "https://"))
    prediction = ask_server(model, query) if is_url else Finder.load(Path(model), open_engine).find([query])[0]
    if draw is not None:
        _write_drawing(image, prediction, entity, draw)
    return prediction


def ask_server(url: str, query: Query, *, timeout_s: float = _TIMEOUT_S) -> Prediction:
    """Posts one query to a KServe v1 server; `url` is its root or the full address of the model."""
    address = url if url.endswith(":predict") else url.rstrip("/") + _PATH
    body = {"instances": [{"image": {"b64": base64.b64encode(query.image).decode()}, "entity": query.entity}]}
    request = urllib.request.Request(
        address, data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST"
    )
    try:
        with _opener(address).open(request, timeout=timeout_s) as response:
            return _prediction(json.load(response)["predictions"][0])
    except urllib.error.HTTPError as error:
        with error:
            kind = InputError if error.code in _OUR_FAULT else InfrastructureError
            raise kind(f"{address} answered {error.code}: {_sentence(error)}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise InfrastructureError(
            f"{address}: no server answers ({reason}); start one with `deepperception serve`."
        ) from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise InfrastructureError(
            f"{address}: the answer is none of a deepperception server; check the address."
        ) from None


def _opener(address: str) -> urllib.request.OpenerDirector:
    # A proxy from the environment cannot reach this machine's own ports.
    local = urllib.parse.urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))


def _prediction(content: dict[str, Any]) -> Prediction:
    return Prediction(_corners(content["box"]), _corners(content["box_1000"]), content["reasoning"], content["text"])


def _corners(values: list[float] | None) -> PixelBox | None:
    if values is None:
        return None
    x1, y1, x2, y2 = values
    return (x1, y1, x2, y2)


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return error.reason


def _format_of(path: Path) -> str:
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    if path.suffix.lower() not in formats:
        raise InputError(f"{path}: pictures are written as {', '.join(formats)}; give a name that ends so.")
    return formats[path.suffix.lower()]


def _write_drawing(image: Path, prediction: Prediction, entity: str, path: Path) -> None:
    marks = [] if prediction.box is None else [Mark(prediction.box, entity, RIGHT)]
    drawn = draw_boxes(open_image(image), marks)
    try:
        with reporting_full_disk(path), replacing(path) as temporary:
            drawn.save(temporary, format=_format_of(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another place with --draw.") from None
