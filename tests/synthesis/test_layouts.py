"""Plans: photos side by side, stacked, in grids and anywhere, never on top of each other."""

from __future__ import annotations

import itertools
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepperception.errors import InputError
from deepperception.synthesis.config import CanvasConfig, Layout
from deepperception.synthesis.layouts import Plan, arrange

LAYOUTS = get_args(Layout)
sizes = st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=2, max_size=6)
canvases = st.builds(CanvasConfig, max_side=st.integers(28, 1500), rescale=st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LAYOUTS), sizes, st.integers(0, 2**32), canvases)
def test_slots_are_whole_pixels_inside_the_canvas_and_apart(
    layout: Layout, sizes: list[tuple[int, int]], seed: int, canvas: CanvasConfig
) -> None:
    plan = arrange(layout, sizes, Random(seed), canvas)
    assert len(plan.slots) == len(sizes)
    for slot in plan.slots:
        corners = (slot.left, slot.top, slot.right, slot.bottom)
        assert all(corner == int(corner) for corner in corners)
        assert slot.width >= 1 and slot.height >= 1
        assert min(corners) >= 0 and slot.right <= plan.size[0] and slot.bottom <= plan.size[1]
    if min(min(slot.width, slot.height) for slot in plan.slots) > 1:  # a photo shrunk to a line may touch another
        assert not any(a.overlaps(b) for a, b in itertools.combinations(plan.slots, 2))
    if not canvas.rescale:
        assert [(slot.width, slot.height) for slot in plan.slots] == sizes
    assert arrange(layout, sizes, Random(seed), canvas) == plan, "the same random state gives the same plan"


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(LAYOUTS),
    st.lists(st.tuples(st.integers(100, 900), st.integers(100, 900)), min_size=2, max_size=6),
    st.integers(0, 999),
)
def test_rescaled_plans_keep_to_the_longest_side_and_to_shapes(
    layout: Layout, sizes: list[tuple[int, int]], seed: int
) -> None:
    plan = arrange(layout, sizes, Random(seed), CanvasConfig(max_side=600))
    assert max(plan.size) <= 600
    for (width, height), slot in zip(sizes, plan.slots, strict=True):
        # Edges are whole pixels, so a side may be off by one.
        assert abs(slot.width * height / width - slot.height) <= 1 + height / width


def column_of(plan: Plan) -> list[tuple[float, float]]:
    return [(slot.left, slot.top) for slot in plan.slots]


def test_side_by_side_is_one_row_of_one_height() -> None:
    plan = arrange("side_by_side", [(100, 50), (100, 100), (30, 200)], Random(0), CanvasConfig())
    assert {slot.height for slot in plan.slots} == {100}
    assert column_of(plan) == [(0, 0), (200, 0), (300, 0)]
    assert plan.size == (315, 100)


def test_stacked_is_one_column_of_one_width() -> None:
    plan = arrange("stacked", [(50, 100), (100, 100), (200, 30)], Random(0), CanvasConfig())
    assert {slot.width for slot in plan.slots} == {100}
    assert column_of(plan) == [(0, 0), (0, 200), (0, 300)]
    assert plan.size == (100, 315)


@pytest.mark.parametrize("count, cells", [(2, (2, 1)), (3, (2, 2)), (4, (2, 2)), (5, (3, 2)), (6, (3, 2))])
def test_a_grid_has_a_cell_for_each_photo(count: int, cells: tuple[int, int]) -> None:
    canvas = CanvasConfig(rescale=False, cell=56)
    plans = [arrange("grid", [(56, 56)] * count, Random(seed), canvas) for seed in range(60)]
    assert {plan.size for plan in plans} == {(56 * cells[0], 56 * cells[1])}
    corners = {(56 * x, 56 * y) for x in range(cells[0]) for y in range(cells[1])}
    for plan in plans:
        assert len(set(column_of(plan))) == count
    assert {corner for plan in plans for corner in column_of(plan)} == corners, "every cell is used at times"
    assert len({tuple(column_of(plan)) for plan in plans}) > 1, "photos change cells"


def test_free_places_differ() -> None:
    plans = {tuple(column_of(arrange("free", [(50, 40)] * 3, Random(seed), CanvasConfig()))) for seed in range(20)}
    assert len(plans) == 20


def test_a_photo_larger_than_its_cell_is_refused() -> None:
    with pytest.raises(InputError, match=r"synthesis\.canvas\.cell: a cell of 56 px cannot hold a photo of 60 px"):
        arrange("grid", [(56, 56), (40, 60)], Random(0), CanvasConfig(rescale=False, cell=56))
