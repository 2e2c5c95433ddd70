"""Opening pictures: upright RGB whatever the file holds, one sentence whatever is wrong with it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from deepperception.errors import InputError
from deepperception.inference.images import MAX_ASPECT, Frame, PictureTooLarge, PictureTooThin, examine, open_image

ORIENTATION = 0x0112


def encoded(image: Image.Image, format: str = "PNG", orientation: int | None = None) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(file, format, exif=exif)
    return file.getvalue()


def photo(width: int = 60, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels: opening it is cheap, decoding it would not be."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "image, pixel, why",
    [
        (Image.new("RGB", (4, 3), (10, 20, 30)), (10, 20, 30), "plain"),
        (Image.new("L", (4, 3), 77), (77, 77, 77), "grey"),
        (Image.new("1", (4, 3), 1), (255, 255, 255), "black and white"),
        (Image.new("RGBA", (4, 3), (0, 0, 0, 0)), (255, 255, 255), "transparent shows white paper, not hidden black"),
        (Image.new("RGBA", (4, 3), (255, 0, 0, 128)), (255, 127, 127), "half transparent"),
        (Image.new("LA", (4, 3), (0, 0)), (255, 255, 255), "transparent grey"),
        (Image.fromarray(np.full((3, 4), 65535, np.uint16)), (255, 255, 255), "16-bit white"),
        (Image.fromarray(np.full((3, 4), 32896, np.uint16)), (128, 128, 128), "16-bit grey is scaled, not clipped"),
    ],
)
def test_every_mode_comes_out_as_8_bit_rgb(image: Image.Image, pixel: tuple[int, int, int], why: str) -> None:
    opened = open_image(encoded(image))
    assert (opened.mode, opened.size) == ("RGB", (4, 3)), why
    assert opened.getpixel((1, 1)) == pixel, why


def test_palette_transparency_shows_paper() -> None:
    image = Image.new("P", (4, 3), 0)
    image.putpalette([0, 0, 0, 9, 9, 9])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0)
    assert open_image(file.getvalue()).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_keeps_its_colour() -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    pixel = open_image(encoded(red, "JPEG")).getpixel((8, 8))
    assert isinstance(pixel, tuple) and pixel[0] > 240 and max(pixel[1:]) < 15


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_moves_pixels_sizes_and_boxes_alike(orientation: int, format: str) -> None:
    box = (8, 4, 24, 12)
    stored = Image.new("RGB", (64, 32))
    stored.paste((255, 255, 255), box)
    data = encoded(stored, format, orientation)
    frame, upright = examine(data), open_image(data)
    assert frame == Frame((64, 32), orientation)
    assert frame.upright == upright.size
    mask = upright.convert("L").point(lambda value: 255 * (value > 127))
    assert mask.getbbox() == frame.to_upright(box)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    data = encoded(photo(), orientation=77)
    assert examine(data).upright == open_image(data).size == (60, 40)


def test_examine_finds_the_size_that_opening_gives() -> None:
    for seed, orientation in enumerate((1, 6)):
        data = encoded(photo(30 + seed, 50), "JPEG", orientation)
        assert examine(data, whole=False).upright == examine(data).upright == open_image(data).size


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.95])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_truncated_file_is_named(tmp_path: Path, format: str, cut: float) -> None:
    whole = encoded(photo(200, 150), format)
    path = tmp_path / "half.jpg"
    path.write_bytes(whole[: int(len(whole) * cut)])
    for read in (open_image, examine):
        with pytest.raises(InputError, match=r"half\.jpg: .*damaged or cut off"):
            read(path)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"just words", "not a picture"),
        (b"", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
        (png_header(30_000, 30_000), "more than 89,478,485 pixels"),
        (png_header(10_000, 9_500), "more than 89,478,485 pixels"),
    ],
)
def test_what_is_no_usable_picture_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"photo\.jpg: .*{says}"):
        open_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: there is no such file"):
        open_image(tmp_path / "gone.png")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        open_image(tmp_path)


def test_bytes_can_be_given_a_name() -> None:
    with pytest.raises(InputError, match=r"^instances\[0\]\.image: "):
        open_image(b"?", name="instances[0].image")


def test_the_limit_counts_pixels_and_includes_itself() -> None:
    data = encoded(photo(60, 40))
    assert open_image(data, max_pixels=2400).size == (60, 40)
    with pytest.raises(PictureTooLarge, match="more than 2,399 pixels"):
        open_image(data, max_pixels=2399)


def test_a_picture_over_the_limit_is_not_decoded() -> None:
    cut_off = encoded(photo(200, 150))[:2000]
    with pytest.raises(InputError, match="more than 29,999 pixels"):
        open_image(cut_off, max_pixels=29_999)


def test_damaged_metadata_is_no_reason_to_refuse_or_to_warn() -> None:
    data = bytearray(encoded(photo(), "JPEG", 6))
    start = data.index(b"Exif\x00\x00")
    data[start + 10 : start + 24] = b"\xff" * 14
    assert open_image(bytes(data)).size == examine(bytes(data)).upright == (60, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_calls_upright(orientation: int) -> None:
    data = encoded(photo(), orientation=orientation)
    assert np.array_equal(
        np.asarray(open_image(data)), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    )


@pytest.mark.parametrize("size", [(1, 201), (402, 2)])
@pytest.mark.parametrize("look", [open_image, examine])
def test_a_picture_too_thin_for_a_model_is_refused_where_a_model_is_asked(look, size) -> None:
    picture = encoded(Image.new("RGB", size))
    with pytest.raises(PictureTooThin, match=rf"row 3: at {size[0]} x {size[1]} the picture is over 200 times as long"):
        look(picture, max_aspect=MAX_ASPECT, name="row 3")
    assert look(picture), "it may still be drawn, or composed with others"
    assert look(encoded(Image.new("RGB", (1, 200))), max_aspect=MAX_ASPECT)
