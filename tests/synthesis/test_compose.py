"""Composed pictures: every box still encloses exactly the pixels that it enclosed in its photo."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deepperception.errors import InputError
from deepperception.grounding import Box
from deepperception.inference.images import Frame, open_image, open_reduced
from deepperception.synthesis.compose import compose, encode
from deepperception.synthesis.config import CanvasConfig, Layout, SourceConfig
from deepperception.synthesis.folder import FolderSource
from deepperception.synthesis.sources import Photo, PixelBox

LAYOUTS = get_args(Layout)
BLACK = (0, 0, 0)


@st.composite
def boxed_sizes(draw: st.DrawFn) -> tuple[tuple[int, int], PixelBox]:
    """A photo's size, and a box of at least a third of each side."""
    size = draw(st.tuples(st.integers(30, 160), st.integers(30, 160)))
    sides = []
    for length in size:
        extent = draw(st.integers(-(-length // 3), length))
        start = draw(st.integers(0, length - extent))
        sides.append((start, start + extent))
    (x1, x2), (y1, y2) = sides
    return size, (x1, y1, x2, y2)


def white_pixels(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The box around all pixels that are rather white than black."""
    return image.convert("L").point(lambda value: 255 * (value > 127)).getbbox()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=st.sampled_from(LAYOUTS),
    shapes=st.lists(boxed_sizes(), min_size=2, max_size=6),
    seed=st.integers(0, 2**32),
    rescale=st.booleans(),
)
def test_boxes_enclose_exactly_the_source_pixels(
    make_photo: Callable[..., Photo],
    layout: Layout,
    shapes: list[tuple[tuple[int, int], PixelBox]],
    seed: int,
    rescale: bool,
) -> None:
    canvas = CanvasConfig(max_side=400, rescale=rescale, background=BLACK)
    photos = [make_photo(str(n), size=size, box=box) for n, (size, box) in enumerate(shapes)]
    dark = [make_photo(str(n), size=size, box=box, paint=BLACK) for n, (size, box) in enumerate(shapes)]
    for place, photo in enumerate(photos):
        alone = [*dark[:place], photo, *dark[place + 1 :]]  # so that all white pixels are this photo's box
        composed = compose(alone, layout, Random(seed), canvas)
        found = white_pixels(composed.image)
        assert found is not None
        if rescale:
            # A pixel that the edge cuts is more white than black or less: half a pixel, and a little for the filter.
            assert np.abs(np.subtract(found, composed.boxes[place])).max() <= 0.75
        else:
            assert found == composed.boxes[place]


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    size=st.tuples(st.integers(200, 700), st.integers(200, 700)),
    corner=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    max_side=st.integers(60, 700),
    seed=st.integers(0, 2**32),
)
def test_boxes_are_exact_where_a_jpeg_is_read_at_a_part_of_its_size(
    layout: Layout, size: tuple[int, int], corner: tuple[float, float], max_side: int, seed: int
) -> None:
    x1, y1 = (round(length * share) for length, share in zip(size, corner, strict=True))
    box = (x1, y1, x1 + size[0] // 2, y1 + size[1] // 2)
    canvas = CanvasConfig(max_side=max_side, background=BLACK)

    def photo(name: str, paint: tuple[int, int, int]) -> Photo:
        image = Image.new("RGB", size)
        image.paste(paint, box)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=98)
        content = buffer.getvalue()
        load, reduced = partial(open_image, content), partial(open_reduced, content)
        return Photo(name, "bird", name, box, size, "CC0-1.0", load, load_reduced=reduced)

    composed = compose([photo("a", (255, 255, 255)), photo("b", BLACK)], layout, Random(seed), canvas)
    found = white_pixels(composed.image)
    assert found is not None
    assert np.abs(np.subtract(found, composed.boxes[0])).max() <= 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=st.sampled_from(LAYOUTS),
    shapes=st.lists(boxed_sizes(), min_size=2, max_size=6),
    seed=st.integers(0, 2**32),
    rescale=st.booleans(),
)
def test_written_integers_are_off_by_half_a_unit_at_most(
    make_photo: Callable[..., Photo],
    layout: Layout,
    shapes: list[tuple[tuple[int, int], PixelBox]],
    seed: int,
    rescale: bool,
) -> None:
    photos = [make_photo(str(n), size=size, box=box) for n, (size, box) in enumerate(shapes)]
    composed = compose(photos, layout, Random(seed), CanvasConfig(max_side=400, rescale=rescale))
    width, height = composed.image.size
    for box in composed.boxes:
        exact = Box.from_pixels(*box, width=width, height=height)
        assert np.abs(np.subtract(exact.rounded().as_tuple(), exact.as_tuple())).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("layout", ["side_by_side", "stacked"])
def test_rows_and_columns_that_would_be_too_long_become_grids(make_photo: Callable[..., Photo], layout: Layout) -> None:
    size = (300, 60) if layout == "side_by_side" else (60, 300)
    photos = [make_photo(str(n), size=size, box=(0, 0, *size)) for n in range(3)]
    composed = compose(photos, layout, Random(0), CanvasConfig(max_side=600))
    assert composed.layout == "grid" and max(composed.image.size) <= 10 * min(composed.image.size)
    assert compose(photos, layout, Random(0), CanvasConfig(max_side=600, max_aspect=20)).layout == layout


def test_a_box_of_the_whole_photo_reaches_its_edges_to_the_last_bit(make_photo: Callable[..., Photo]) -> None:
    for seed in range(50):
        size = (37 + seed, 101 - seed)
        photos = [make_photo(str(n), size=size, box=(0, 0, *size)) for n in range(3)]
        composed = compose(photos, "side_by_side", Random(seed), CanvasConfig(max_side=97))
        for box in composed.boxes:
            assert all(corner == int(corner) for corner in box)
            Box.from_pixels(*box, width=composed.image.width, height=composed.image.height)


MODES: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "grey.png": lambda mask: Image.fromarray(mask),
    "grey16.png": lambda mask: Image.fromarray(mask.astype(np.uint16) * 257),
    "colour.png": lambda mask: Image.fromarray(mask).convert("RGB"),
    "alpha.png": lambda mask: Image.merge(
        "RGBA", [Image.fromarray(mask)] * 3 + [Image.new("L", mask.shape[::-1], 255)]
    ),
    "palette.png": lambda mask: Image.fromarray(mask).convert("P"),
    "cmyk.jpg": lambda mask: Image.fromarray(mask).convert("RGB").convert("CMYK"),
    "colour.jpg": lambda mask: Image.fromarray(mask).convert("RGB"),
    "colour.tif": lambda mask: Image.fromarray(mask).convert("RGB"),
    # Films of two frames, of which the first counts.
    "animated.png": lambda mask: Image.fromarray(mask).convert("RGB"),
    "animated.webp": lambda mask: Image.fromarray(mask).convert("RGB"),
}


UPRIGHT_VIEWS = [(orientation, False) for orientation in range(1, 9)]
# Only a quarter turn changes the size, and so tells that the annotator saw the stored picture.
STORED_VIEWS = [(orientation, True) for orientation in range(5, 9)]


@pytest.mark.parametrize("orientation, sees_stored", UPRIGHT_VIEWS + STORED_VIEWS)
@pytest.mark.parametrize("file", list(MODES))
def test_boxes_survive_files_of_every_kind(
    tmp_path: Path, make_photo: Callable[..., Photo], file: str, orientation: int, sees_stored: bool
) -> None:
    """White boxes in black photos, written in many formats and EXIF rotations, read as a folder, composed."""
    stored_size, stored_box = (64, 48), (8, 16, 40, 32)  # on JPEG's own 8 x 8 blocks, so that its edges stay sharp
    frame = Frame(stored_size, orientation)
    mask = np.zeros(stored_size[::-1], np.uint8)
    x1, y1, x2, y2 = stored_box
    mask[y1:y2, x1:x2] = 255
    for entity in ("owl", "hawk"):
        folder = tmp_path / entity
        folder.mkdir()
        exif = Image.Exif()
        exif[0x0112] = orientation
        second = [Image.new("RGB", stored_size)] if file.startswith("animated") else []
        film = {"save_all": True, "append_images": second, "lossless": True} if second else {}
        MODES[file](mask).save(folder / file, exif=exif, quality=95, **film)
        (width, height), box = (
            (stored_size, stored_box) if sees_stored else (frame.upright, frame.to_upright(stored_box))
        )
        corners = "".join(
            f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        (folder / file).with_suffix(".xml").write_text(
            f"<annotation><filename>{entity}</filename><size><width>{width}</width><height>{height}</height></size>"
            f"<object><name>{entity}</name><bndbox>{corners}</bndbox></object></annotation>"
        )
        with (folder / file).open("ab") as bytes_after_the_picture:
            bytes_after_the_picture.write(entity.encode())  # or the two files would be the same photo
    source = FolderSource(SourceConfig(path=tmp_path, category="bird"), seed=0)
    hawk, owl = source.photos()
    dark = make_photo("dark", size=owl.size, box=(0, 0, 1, 1), paint=BLACK)
    for layout in LAYOUTS:
        composed = compose([owl, dark], layout, Random(7), CanvasConfig(rescale=False, background=BLACK))
        assert white_pixels(composed.image) == composed.boxes[0], layout
    assert (hawk.size, hawk.box) == (frame.upright, frame.to_upright(stored_box))


def test_a_cell_without_a_photo_has_the_background(make_photo: Callable[..., Photo]) -> None:
    photos = [make_photo(str(n), size=(56, 56), around=(1, 2, 3), paint=(1, 2, 3)) for n in range(3)]
    canvas = CanvasConfig(rescale=False, cell=56, background=(200, 100, 50))
    image = compose(photos, "grid", Random(0), canvas).image
    counts = {colour: count for count, colour in image.getcolors() or []}
    assert counts == {(1, 2, 3): 3 * 56 * 56, (200, 100, 50): 56 * 56}


@pytest.mark.parametrize("encoding, magic", [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff")])
def test_the_same_picture_gives_the_same_file(make_photo: Callable[..., Photo], encoding: str, magic: bytes) -> None:
    canvas = CanvasConfig.model_validate({"encoding": encoding})
    photos = [make_photo("a"), make_photo("b")]
    files = {encode(compose(photos, "free", Random(5), canvas).image, canvas) for _ in range(3)}
    assert len(files) == 1 and files.pop().startswith(magic)


def test_a_photo_without_a_box_is_refused(make_photo: Callable[..., Photo]) -> None:
    with pytest.raises(InputError, match="bare: the photo has no box of 'owl'"):
        compose([replace(make_photo("bare"), box=None), make_photo("b")], "grid", Random(0), CanvasConfig())


def test_a_photo_that_changed_on_disk_is_refused(make_photo: Callable[..., Photo]) -> None:
    changed = replace(make_photo("a"), size=(99, 99))
    with pytest.raises(InputError, match="a: the photo changed"):
        compose([changed, make_photo("b")], "grid", Random(0), CanvasConfig())
