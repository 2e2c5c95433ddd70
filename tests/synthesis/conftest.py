"""Photos for the tests of synthesis: drawn in memory, or written as folders with PASCAL VOC annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepperception.synthesis.sources import Photo, PixelBox

Annotate = Callable[..., Path]


def voc(size: tuple[int, int] | None, objects: Sequence[tuple[str, PixelBox]]) -> str:
    things = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    header = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation>{header}{things}</annotation>"


@pytest.fixture
def annotate() -> Annotate:
    """Write one JPEG, of a grain that its colour decides, and its annotation; returns the picture's path."""

    def write(
        folder: Path,
        stem: str,
        *,
        colour: tuple[int, int, int] = (90, 120, 60),
        size: tuple[int, int] = (40, 30),
        objects: Sequence[tuple[str, PixelBox]] = (),
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f"{stem}.jpg"
        grain = np.random.default_rng(colour).normal(colour, 25, (size[1], size[0], 3))
        Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(picture)
        picture.with_suffix(".xml").write_text(voc(size, objects))
        return picture

    return write


@pytest.fixture
def photo_root(tmp_path: Path, annotate: Annotate) -> Path:
    """Two categories of three entities, eight sound photos each: CATEGORY/ENTITY/*.jpg."""
    root = tmp_path / "photos"
    for c, (category, entities) in enumerate(
        {"owl": ["barn_owl", "eagle_owl", "snowy_owl"], "fern": ["maidenhair", "bracken", "royal fern"]}.items()
    ):
        for e, entity in enumerate(entities):
            for number in range(8):
                box = (2 + number, 3, 30 + e, 20 + number)
                annotate(
                    root / category / entity,
                    f"{number:02d}",
                    colour=(40 * c + 20, 60 * e + 20, 20 * number + 10),
                    objects=[(entity.replace("_", " "), box)],
                )
    return root


@pytest.fixture
def make_photo() -> Callable[..., Photo]:
    """A photo in memory: `paint` inside its box, `around` outside."""

    def make(
        identity: str,
        *,
        size: tuple[int, int] = (40, 30),
        box: PixelBox = (10, 5, 30, 25),
        entity: str = "owl",
        category: str = "bird",
        paint: tuple[int, int, int] = (255, 255, 255),
        around: tuple[int, int, int] = (0, 0, 0),
    ) -> Photo:
        def load() -> Image.Image:
            image = Image.new("RGB", size, around)
            image.paste(paint, tuple(int(corner) for corner in box))
            return image

        return Photo(identity, category, entity, box, size, "CC0-1.0", load)

    return make
