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
from deepperception.synthesis.sources import PixelBox, upright

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
    """The box in pixels of the upright photo, as `sources.upright` finds it. VOC's numbers are taken as edges."""
    return upright(box, frame, annotation.size, str(annotation.path))


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
