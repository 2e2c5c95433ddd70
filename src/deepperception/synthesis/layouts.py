"""Where photos go on a canvas: pure geometry, in whole pixels, without overlap."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from deepperception.errors import InputError
from deepperception.synthesis.config import CanvasConfig, Layout

Size = tuple[float, float]
_TRIES_BEFORE_GROWING = 40
_FIRST_SLACK, _GROWTH = 1.4, 1.08


@dataclass(frozen=True, slots=True)
class Slot:
    """The room of one photo, which fills it: left and top edge, width and height, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def overlaps(self, other: Slot) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A canvas (width, height) in whole pixels and one slot for each photo, in the photos' order."""

    size: tuple[int, int]
    slots: tuple[Slot, ...]


def arrange(layout: Layout, sizes: Sequence[tuple[int, int]], rng: Random, canvas: CanvasConfig) -> Plan:
    """Give photos of these sizes (width, height) their slots; the same `rng` state gives the same plan.

    InputError where photos must keep their size and do not fit the grid's cell.
    """
    size, slots = _LAYOUTS[layout](sizes, rng, canvas)
    return _in_pixels(size, slots, min(1.0, canvas.max_side / max(size)) if canvas.rescale else 1.0)


def _side_by_side(sizes: Sequence[Size], rng: Random, canvas: CanvasConfig) -> tuple[Size, list[Slot]]:
    """One row; rescaled photos share the median height."""
    row_height = statistics.median(height for _, height in sizes)
    slots: list[Slot] = []
    left = 0.0
    for width, height in sizes:
        scale = row_height / height if canvas.rescale else 1.0
        slots.append(Slot(left, 0, width * scale, height * scale))
        left = slots[-1].right
    return (left, max(slot.height for slot in slots)), slots


def _stacked(sizes: Sequence[Size], rng: Random, canvas: CanvasConfig) -> tuple[Size, list[Slot]]:
    """One column; rescaled photos share the median width."""
    (height, width), row = _side_by_side([(height, width) for width, height in sizes], rng, canvas)
    return (width, height), [Slot(slot.top, slot.left, slot.height, slot.width) for slot in row]


def _grid(sizes: Sequence[Size], rng: Random, canvas: CanvasConfig) -> tuple[Size, list[Slot]]:
    """Square cells in a nearly square grid, a photo at random in a random cell; spare cells stay empty."""
    columns = math.ceil(math.sqrt(len(sizes)))
    rows = math.ceil(len(sizes) / columns)
    longest = max(max(size) for size in sizes)
    cell = canvas.cell or (_usual_room(sizes, canvas.max_side / columns) if canvas.rescale else longest)
    if longest > cell and not canvas.rescale:
        raise InputError(
            f"synthesis.canvas.cell: a cell of {cell:g} px cannot hold a photo of {longest:g} px; "
            "enlarge it, or set rescale."
        )
    slots: list[Slot] = []
    for spot, size in zip(rng.sample(range(columns * rows), len(sizes)), sizes, strict=True):
        width, height = _scaled(size, cell, rng, canvas)
        left = spot % columns * cell + rng.randint(0, int(cell - width))
        top = spot // columns * cell + rng.randint(0, int(cell - height))
        slots.append(Slot(left, top, width, height))
    return (columns * cell, rows * cell), slots


def _free(sizes: Sequence[Size], rng: Random, canvas: CanvasConfig) -> tuple[Size, list[Slot]]:
    """Anywhere on a canvas of random shape, which grows until all photos find a place of their own."""
    room = _usual_room(sizes, canvas.max_side / math.sqrt(len(sizes)))
    sizes = [_scaled(size, room, rng, canvas) for size in sizes]
    aspect = rng.uniform(0.75, 4 / 3)
    side = math.sqrt(_FIRST_SLACK * sum(width * height for width, height in sizes))
    width = max(side * math.sqrt(aspect), *(size[0] for size in sizes))
    height = max(side / math.sqrt(aspect), *(size[1] for size in sizes))
    while True:
        slots = _scatter(sizes, (width, height), rng)
        if slots is not None:
            return (width, height), slots
        width, height = width * _GROWTH, height * _GROWTH


def _scatter(sizes: Sequence[Size], canvas: Size, rng: Random) -> list[Slot] | None:
    """Random places for all sizes, or None where one found none."""
    slots: list[Slot] = []
    for width, height in sizes:
        for _ in range(_TRIES_BEFORE_GROWING):
            slot = Slot(rng.randint(0, int(canvas[0] - width)), rng.randint(0, int(canvas[1] - height)), width, height)
            if not any(slot.overlaps(other) for other in slots):
                slots.append(slot)
                break
        else:
            return None
    return slots


def _usual_room(sizes: Sequence[Size], most: float) -> float:
    """Side of a square for each photo: what the middling one needs, so that few are enlarged and none looks lost."""
    return min(most, statistics.median(max(size) for size in sizes))


def _scaled(size: Size, room: float, rng: Random, canvas: CanvasConfig) -> Size:
    """A photo's size in a square of side `room`: its own, or a random share of what the square can hold."""
    if not canvas.rescale:
        return size
    scale = room / max(size) * rng.uniform(*canvas.scale)
    return size[0] * scale, size[1] * scale


def _in_pixels(size: Size, slots: Sequence[Slot], scale: float) -> Plan:
    """Scale a plan and round it to whole pixels. Edges are rounded down, all alike, so that neighbours stay apart."""

    def edge(position: float) -> int:
        return math.floor(position * scale + 1e-9)  # 2.9999999 is a float's way to write 3

    whole = tuple(
        Slot(
            edge(slot.left),
            edge(slot.top),
            max(1, edge(slot.right) - edge(slot.left)),
            max(1, edge(slot.bottom) - edge(slot.top)),
        )
        for slot in slots
    )
    width = max(edge(size[0]), *(int(slot.right) for slot in whole))
    height = max(edge(size[1]), *(int(slot.bottom) for slot in whole))
    return Plan((width, height), whole)


_LAYOUTS: dict[Layout, Callable[[Sequence[Size], Random, CanvasConfig], tuple[Size, list[Slot]]]] = {
    "side_by_side": _side_by_side,
    "stacked": _stacked,
    "grid": _grid,
    "free": _free,
}
