"""Photos of single entities, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from PIL import Image

from deepperception.errors import InputError
from deepperception.inference.images import Frame
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.plugins import load_plugin

PixelBox = tuple[float, float, float, float]
BoxOrigin = Literal["given", "whole image", "model"]
"""Who drew a photo's box: its listing's author; nobody, the photo is taken to be all of one thing; a model."""
WHOLE_IMAGE: BoxOrigin = "whole image"
EXAMPLES_KEPT = 5

SEVERAL = "holds several boxes of its entity"
ANOTHER = "also shows another entity of its category"
TWICE = "is the same file as another photo"
FAULTY = "is faulty"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of one entity.

    `box` is (x1, y1, x2, y2) in pixels of the upright photo, edges and not pixel numbers: the whole photo is
    (0, 0, width, height). `load` gives the upright RGB photo, of just `size` (width, height); it may be called often.
    `load_reduced`, where there is one, gives it at 1/n of its size, and n, for less work: `images.open_reduced`.
    `digest` is of the file's bytes, where there is a file.
    """

    id: str
    category: str
    entity: str
    box: PixelBox | None
    size: tuple[int, int]
    licence: str
    load: Callable[[], Image.Image] = field(repr=False, compare=False)
    digest: str = ""
    box_origin: BoxOrigin = "given"
    load_reduced: Callable[[tuple[int, int]], tuple[Image.Image, int]] | None = field(
        default=None, repr=False, compare=False
    )


class Source(Protocol):
    """Where photos come from. Constructed with (config: SourceConfig, seed: int)."""

    def photos(self) -> Iterator[Photo]:
        """All usable photos, in an order that only depends on the settings; InputError where the user must act."""
        ...

    def report(self) -> dict[str, Any]:
        """What photos() left out: {reason: {"count": n, "examples": [name, ...]}}."""
        ...


@dataclass
class Tally:
    """Counts by reason, with the first few examples of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES_KEPT:
            shown.append(example)

    def as_dict(self) -> dict[str, Any]:
        return {
            reason: {"count": self.counts[reason], "examples": self.examples[reason]} for reason in sorted(self.counts)
        }


class FaultyPhotos(InputError):
    """Photos that the user must mend or allow to be skipped; `faults` holds a sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(self.sentence())

    def sentence(self, listed_in: str = "") -> str:
        """The first fault, and how many more there are."""
        first, more = self.faults[0], len(self.faults) - 1
        if not more:
            return first
        place = f" (all are listed in {listed_in})" if listed_in else ""
        return f"{first.rstrip('.')}; {more} more like it{place}."


def upright(box: PixelBox, frame: Frame, size: tuple[int, int] | None, where: str) -> PixelBox:
    """The box in pixels of the upright photo; InputError, saying `where`, if it is reversed or leaves the picture.

    Where EXIF turns the photo by a quarter, the annotated `size` tells whether the annotator saw it turned; where it
    cannot tell, the box is taken to be of the upright photo, as viewers show it.
    """
    x1, y1, x2, y2 = box
    if size and size not in (frame.upright, frame.stored):
        raise InputError(
            f"{where}: it is for a picture of {_by(size)} and the photo has {_by(frame.upright)}; "
            "correct the size and the box, or remove both."
        )
    turned = size == frame.stored != frame.upright
    width, height = frame.stored if turned else frame.upright
    if not (x1 < x2 and y1 < y2):
        raise InputError(
            f"{where}: the box {_written(box)} is reversed or empty; expected top left, then bottom right."
        )
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        raise InputError(
            f"{where}: the box {_written(box)} lies outside its picture of {width} x {height}; correct it."
        )
    return frame.to_upright(box) if turned else box


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _written(box: PixelBox) -> str:
    return "({:g},{:g}),({:g},{:g})".format(*box)


def open_source(config: SourceConfig, seed: int) -> Source:
    """The source that the settings name."""
    return cast(Source, load_plugin("deepperception.sources", config.kind, "synthesis.source.kind")(config, seed))
