"""Pictures from files and requests: upright 8-bit RGB, or one sentence about what is wrong with them."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from deepperception.errors import InputError

MAX_PIXELS = 178_956_970 // 2
MAX_ASPECT = 200
"""Longer side over shorter, of pictures that a model is shown: Qwen-VL's resizing raises beyond it."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The same for boxes, mirrored first, then transposed.
_MIRRORING_X = (2, 3, 7, 8)
_MIRRORING_Y = (3, 4, 6, 7)
_TRANSPOSING = (5, 6, 7, 8)
_PAPER = (255, 255, 255)

# warnings.catch_warnings swaps state of the whole process; a server opens pictures in several threads.
_warnings_lock = threading.Lock()


class PictureTooLarge(InputError):
    """The picture may be in order, and has more pixels than is allowed here."""


class PictureTooThin(InputError):
    """The picture is in order, and too long for its width to be shown to a model."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a picture lies in its file: its stored size (width, height) in pixels, and its EXIF orientation."""

    stored: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        return self.stored[::-1] if self.orientation in _TRANSPOSING else self.stored

    def to_upright(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Where a box (x1, y1, x2, y2) in pixels of the stored picture lies in the upright one."""
        x1, y1, x2, y2 = box
        width, height = self.stored
        if self.orientation in _MIRRORING_X:
            x1, x2 = width - x2, width - x1
        if self.orientation in _MIRRORING_Y:
            y1, y2 = height - y2, height - y1
        return (y1, x1, y2, x2) if self.orientation in _TRANSPOSING else (x1, y1, x2, y2)


def open_image(
    data: bytes | Path, *, max_pixels: int = MAX_PIXELS, max_aspect: int | None = None, name: str | None = None
) -> Image.Image:
    """Decode a picture file into an upright 8-bit RGB image.

    EXIF rotation is applied, transparency is laid on white, 16-bit greys are scaled down. `name` is what an error
    calls the picture; a path calls itself. InputError where the file is missing, no picture, or truncated;
    PictureTooLarge where it has more than `max_pixels` and PictureTooThin where its longer side is over `max_aspect`
    times the shorter (MAX_ASPECT for a model), which is checked before anything is decoded.
    """
    name = name or _name(data)
    with _opened(data, name, max_pixels, max_aspect) as image:
        _decode(image, name)
        turn = _UPRIGHT.get(_orientation(image))
        return _rgb(image if turn is None else image.transpose(turn))


def open_reduced(data: bytes | Path, least: tuple[int, int], *, name: str | None = None) -> tuple[Image.Image, int]:
    """As open_image, for a picture that will be shrunk anyway: (the picture at 1/n of its size, n).

    n is 1, 2, 4 or 8, the largest that leaves at least the size `least` (width, height); a pixel is n x n of the
    picture's own, of which the last in a row or column may reach beyond its edge. Only upright JPEGs are reduced.
    """
    name = name or _name(data)
    with _opened(data, name, MAX_PIXELS, None) as image:
        factor = 1
        if image.format == "JPEG" and image.mode in ("RGB", "L") and _orientation(image) == 1:
            width = image.width
            if drafted := image.draft(None, least):
                factor = round(width / drafted[1][2])
        _decode(image, name)
        turn = _UPRIGHT.get(_orientation(image))
        return _rgb(image if turn is None else image.transpose(turn)), factor


def examine(
    data: bytes | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    max_aspect: int | None = None,
    name: str | None = None,
    whole: bool = True,
) -> Frame:
    """The sizes of a picture, after reading its data to the end: the errors of open_image, for less work.

    `whole=False` reads a JPEG's header alone, and so finds no damage behind it.
    """
    name = name or _name(data)
    with _opened(data, name, max_pixels, max_aspect) as image:
        if image.format == "PNG":  # It may keep its orientation behind its pixels.
            _decode(image, name)
        frame = Frame(image.size, _orientation(image))
        if image.format == "TIFF":  # Pillow tells the upright size of these, and of no others.
            frame = Frame(frame.upright, frame.orientation)
        if whole:
            image.draft("L", (1, 1))  # A JPEG still has all its data read, and skips most of the arithmetic.
            _decode(image, name)
        return frame


def stored_pixels(data: bytes) -> int:
    """Width times height as the header says, without a look at the pixels; 0 where it cannot be read."""
    try:
        image = _header(io.BytesIO(data), "the picture", MAX_PIXELS)
    except InputError:
        return 0
    return image.width * image.height


@contextmanager
def _opened(data: bytes | Path, name: str, max_pixels: int, max_aspect: int | None) -> Iterator[Image.Image]:
    """The picture with its header read; nothing is decoded yet."""
    with _file(data, name) as file:
        image = _header(file, name, max_pixels)
        if image.width * image.height > max_pixels:
            raise _too_large(name, max_pixels)
        if max_aspect is not None and max(image.size) > max_aspect * min(image.size):
            width, height = image.size
            raise PictureTooThin(
                f"{name}: at {width} x {height} the picture is over {max_aspect} times as long as wide; crop it."
            )
        yield image


def _file(data: bytes | Path, name: str) -> BinaryIO:
    # Opened here and not by Pillow, which leaves the files of some damaged pictures open.
    if isinstance(data, bytes):
        return io.BytesIO(data)
    try:
        return data.open("rb")
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file; give the path of a picture.") from None
    except OSError as error:
        raise InputError(f"{name}: the file cannot be opened ({error.strerror}); give the path of a picture.") from None


def _header(file: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    try:
        with _quiet():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_large(name, max_pixels) from None
    except Exception:  # Pillow's readers raise many types on damaged data.
        raise InputError(f"{name}: this is not a picture that can be read; give a JPEG or PNG file.") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Pillow has to say about damaged metadata. Not around slow work: threads wait here."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _orientation(image: Image.Image) -> int:
    try:
        with _quiet():
            return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's readers raise many types on damaged metadata, which is no reason to refuse pixels.
        return 1


def _decode(image: Image.Image, name: str) -> None:
    try:
        image.load()
    except Exception as error:  # Pillow's decoders raise many types on damaged data.
        raise InputError(f"{name}: the picture is damaged or cut off ({error}); replace it.") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (*_PAPER, 255))
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Greys of 16 bits to 8; Pillow's own conversion clips them to white."""
    grey = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I") and (image.mode != "I" or grey.max(initial=0) > 255):
        grey = grey / 257
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


def _too_large(name: str, max_pixels: int) -> PictureTooLarge:
    return PictureTooLarge(f"{name}: the picture has more than {max_pixels:,} pixels; make it smaller.")


def _name(data: bytes | Path) -> str:
    return str(data) if isinstance(data, Path) else "the picture"
