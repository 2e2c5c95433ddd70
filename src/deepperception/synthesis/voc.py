"""Reading PASCAL VOC annotations, the XML beside a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import parse  # type: ignore[import-untyped]

from deepperception.errors import InputError
from deepperception.inference.images import Frame
from deepperception.synthesis.sources import PixelBox

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotated things in file order, and the picture size (width, height) they refer to, where it is given."""

    path: Path
    size: tuple[int, int] | None
    objects: tuple[tuple[str, PixelBox], ...]


def read_annotation(path: Path) -> Annotation:
    """Read one XML file; InputError names it where it cannot be understood. Boxes are not yet checked."""
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except ParseError as error:
        raise InputError(f"{path}: this is no well-formed XML ({error}); repair or remove it.") from None
    except (DefusedXmlException, OSError, ValueError, LookupError) as error:  # LookupError: an encoding nobody knows
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: the annotation cannot be read ({reason}); replace it.") from None
    width, height = _number(root, "size/width", path, 0), _number(root, "size/height", path, 0)
    return Annotation(
        path,
        (int(width), int(height)) if width > 0 and height > 0 else None,
        tuple((_name(thing), _box(thing, path)) for thing in root.findall("object")),
    )


def upright_box(annotation: Annotation, box: PixelBox, frame: Frame) -> PixelBox:
    """The box in pixels of the upright photo; InputError where it is reversed or leaves the picture.

    VOC's numbers are taken as edges. Where EXIF turns the photo by a quarter, the annotated size tells whether the
    annotator saw it turned; where it cannot tell, the box is taken to be of the upright photo, as viewers show it.
    """
    x1, y1, x2, y2 = box
    if annotation.size and annotation.size not in (frame.upright, frame.stored):
        raise InputError(
            f"{annotation.path}: it is for a picture of {_by(annotation.size)} and the photo has {_by(frame.upright)}; "
            "correct the size and the box, or remove both files."
        )
    turned = annotation.size == frame.stored != frame.upright
    width, height = frame.stored if turned else frame.upright
    if not (x1 < x2 and y1 < y2):
        raise InputError(
            f"{annotation.path}: the box {_written(box)} is reversed or empty; expected top left, then bottom right."
        )
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        raise InputError(
            f"{annotation.path}: the box {_written(box)} lies outside its picture of {width} x {height}; correct it."
        )
    return frame.to_upright(box) if turned else box


def _name(thing: Element) -> str:
    return (thing.findtext("name") or "").strip()


def _box(thing: Element, path: Path) -> PixelBox:
    corners = thing.find("bndbox")
    if corners is None:
        raise InputError(f"{path}: the object '{_name(thing)}' has no <bndbox>; add its box.")
    x1, y1, x2, y2 = (_number(corners, key, path) for key in _CORNERS)
    return x1, y1, x2, y2


def _number(element: Element, key: str, path: Path, default: float | None = None) -> float:
    text = element.findtext(key)
    if text is None and default is not None:
        return default
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path}: <{key}> should be a number and is {text!r}; correct it.")
    return number


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _written(box: PixelBox) -> str:
    return "({:g},{:g}),({:g},{:g})".format(*box)
