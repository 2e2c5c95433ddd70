"""One prediction, from a checkpoint folder or from a server; serving/many.py has many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deepperception.artifacts.disk import replacing, reporting_full_disk
from deepperception.errors import InputError
from deepperception.evaluation.drawing import RIGHT, Mark, draw_boxes
from deepperception.grounding import question
from deepperception.inference.engine import Engine
from deepperception.inference.images import MAX_ASPECT, examine, open_image
from deepperception.serving.client import ask_server
from deepperception.serving.finder import Finder, Prediction, Query


def predict(
    model: str,
    image: Path,
    entity: str,
    *,
    draw: Path | None = None,
    token: str | None = None,
    retries: int = 0,
    open_engine: Callable[..., Engine] | None = None,
) -> Prediction:
    """Finds `entity` on the picture `image`. `model` is a checkpoint folder, or the http(s) address of a server.

    `draw` is where the picture with the box on it is written (PNG, JPEG or WebP by its name); without a box it is the
    picture alone. InputError where the folder, the picture or the name cannot be used, InfrastructureError where the
    server does not answer.
    """
    size = examine(image, max_aspect=MAX_ASPECT).upright
    question(entity)
    if draw is not None:
        _format_of(draw)
    query = Query(image.read_bytes(), size, entity)
    if model.startswith(("http://", "https://")):
        prediction = ask_server(model, query.image, entity, token=token, retries=retries)
    else:
        prediction = Finder.load(Path(model), open_engine).find([query])[0]
    if draw is not None:
        write_drawing(image, prediction, entity, draw)
    return prediction


def _format_of(path: Path) -> str:
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    if path.suffix.lower() not in formats:
        raise InputError(f"{path}: pictures are written as {', '.join(formats)}; give a name that ends so.")
    return formats[path.suffix.lower()]


def write_drawing(image: Path, prediction: Prediction, entity: str, path: Path) -> None:
    """The picture with the box on it; InputError where it cannot be written."""
    marks = [] if prediction.box is None else [Mark(prediction.box, entity, RIGHT)]
    drawn = draw_boxes(open_image(image), marks)
    try:
        with reporting_full_disk(path), replacing(path) as temporary:
            drawn.save(temporary, format=_format_of(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another place with --draw.") from None
