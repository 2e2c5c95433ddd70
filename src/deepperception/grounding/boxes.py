"""Boxes: one type, one frame, and the overlap that every score and reward rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepperception.errors import InputError

FRAME = 1000.0

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned box in the 0-1000 frame of the whole picture: 0 <= x1 < x2 <= 1000, likewise y, origin top left.

    Thousandths of the picture's width and height, as Qwen2-VL and KVG-Bench write them. InputError for anything else.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        for name in ("x1", "y1", "x2", "y2"):
            if type(corner := getattr(self, name)) is not float:
                object.__setattr__(self, name, float(corner))
        if 0 <= self.x1 < self.x2 <= FRAME and 0 <= self.y1 < self.y2 <= FRAME:
            return
        if not all(0 <= corner <= FRAME for corner in self.as_tuple()):
            raise InputError(
                f"the box {_written(self.as_tuple())} leaves the frame; every coordinate must lie in 0 to 1000."
            )
        _refuse_reversed(self.as_tuple())

    @classmethod
    def from_pixels(cls, x1: float, y1: float, x2: float, y2: float, *, width: int, height: int) -> Box:
        """The same box in thousandths of a `width` x `height` picture; InputError where it leaves the picture."""
        if not (0 <= x1 <= width and 0 <= x2 <= width and 0 <= y1 <= height and 0 <= y2 <= height):
            raise InputError(
                f"the box {_written((x1, y1, x2, y2))} leaves its {width} x {height} picture; give pixels inside it."
            )
        _refuse_reversed((x1, y1, x2, y2))
        # Multiplied first, so that whole pixels stay as exact as they can; then a float's last bit may pass the edge.
        return cls(
            min(x1 * FRAME / width, FRAME),
            min(y1 * FRAME / height, FRAME),
            min(x2 * FRAME / width, FRAME),
            min(y2 * FRAME / height, FRAME),
        )

    def to_pixels(self, width: int, height: int) -> Corners:
        """The corners in pixels of a `width` x `height` picture, not rounded."""
        return (self.x1 * width / FRAME, self.y1 * height / FRAME, self.x2 * width / FRAME, self.y2 * height / FRAME)

    @property
    def area(self) -> float:
        """In square thousandths: the whole picture is 1,000,000."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def iou(self, other: Box) -> float:
        """Intersection over union, in [0, 1]. Equal in any frame that scales each axis, so in pixels too."""
        return raw_iou(self.as_tuple(), other.as_tuple())

    def rounded(self, step: int = 1) -> Box:
        """Each corner at the nearest multiple of `step` (halves up) inside the frame.

        A side that would collapse becomes the one step wide cell around its middle. Idempotent.
        """
        if not 1 <= step <= FRAME:
            raise InputError(f"a box step of {step} is not possible; give 1 to 1000 thousandths.")
        x1, x2 = _rounded_side(self.x1, self.x2, step)
        y1, y2 = _rounded_side(self.y1, self.y2, step)
        return Box(x1, y1, x2, y2)

    def text(self) -> str:
        """Qwen2-VL's own writing, `(x1,y1),(x2,y2)`, in whole thousandths."""
        whole = self.rounded()
        return f"({whole.x1:.0f},{whole.y1:.0f}),({whole.x2:.0f},{whole.y2:.0f})"

    def as_tuple(self) -> Corners:
        return (self.x1, self.y1, self.x2, self.y2)


def raw_iou(a: Corners, b: Corners) -> float:
    """IoU of any two lists of corners, as the paper's evaluator scores a reply that need not be a box.

    Degenerate, reversed or non-finite corners overlap with nothing: 0.
    """
    if not all(map(math.isfinite, (*a, *b))):
        return 0.0
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return min(shared / union, 1.0) if 0 < union < math.inf else 0.0


def _rounded_side(low: float, high: float, step: int) -> tuple[int, int]:
    last = int(FRAME) // step
    first_cell, end_cell = (min(math.floor(value / step + 0.5), last) for value in (low, high))
    if first_cell == end_cell:
        first_cell = min(math.floor((low + high) / 2 / step), last - 1)
        end_cell = first_cell + 1
    return first_cell * step, end_cell * step


def _refuse_reversed(corners: Corners) -> None:
    x1, y1, x2, y2 = corners
    if not (x1 < x2 and y1 < y2):
        raise InputError(f"the box {_written(corners)} is reversed or empty; expected top left, then bottom right.")


def _written(corners: Corners) -> str:
    return "({:g},{:g}),({:g},{:g})".format(*corners)
