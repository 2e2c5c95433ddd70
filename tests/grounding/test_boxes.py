from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.errors import InputError
from deepperception.grounding import Box, raw_iou


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes at least a thousandth of a step wide, so that areas stay far from underflow."""
    sides = []
    for _ in "xy":
        low = draw(st.floats(0, 999, allow_subnormal=False))
        sides.append((low, draw(st.floats(low + 1e-3, 1000))))
    (x1, x2), (y1, y2) = sides
    return Box(x1, y1, x2, y2)


@pytest.mark.parametrize(
    "corners, complaint",
    [
        ((10, 20, 10, 40), "reversed or empty"),
        ((30, 20, 10, 40), "reversed or empty"),
        ((10, 40, 30, 20), "reversed or empty"),
        ((-1, 20, 30, 40), "leaves the frame"),
        ((10, 20, 30, 1000.5), "leaves the frame"),
        ((10, 20, math.nan, 40), "leaves the frame"),
        ((10, 20, math.inf, 40), "leaves the frame"),
    ],
)
def test_what_is_no_box_is_refused(corners, complaint):
    with pytest.raises(InputError, match=complaint):
        Box(*corners)


def test_a_box_holds_floats_and_equals_its_whole_numbered_twin():
    box = Box(0, 0, 1000, 500)
    assert box == Box(0.0, 0.0, 1000.0, 500.0)
    assert all(type(corner) is float for corner in box.as_tuple())
    assert box.area == 500_000


@pytest.mark.parametrize(
    "a, b, iou, why",
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0, "the same box"),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0, "touching is not overlapping"),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3, "half of each"),
        ((0, 0, 10, 10), (2, 2, 4, 4), 0.04, "inside"),
        ((0, 0, 10, 10), (10, 10, 0, 0), 0.0, "reversed corners are not repaired"),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0, "no division by zero"),
        ((5, 5, 5, 9), (0, 0, 10, 10), 0.0, "no width"),
        ((0, 0, math.inf, 10), (0, 0, 10, 10), 0.0, "a reply may say inf"),
        ((0, 0, 10, 10), (math.nan, 0, 10, 10), 0.0, "or nan"),
        ((-1e300, -1e300, 1e300, 1e300), (0, 0, 10, 10), 0.0, "an area beyond floats"),
    ],
)
def test_raw_iou(a, b, iou, why):
    assert raw_iou(a, b) == pytest.approx(iou), why
    assert raw_iou(b, a) == pytest.approx(iou), why


@given(boxes(), boxes())
def test_iou_is_symmetric_and_a_share(a, b):
    assert a.iou(b) == b.iou(a)
    assert 0 <= a.iou(b) <= 1
    assert a.iou(a) == pytest.approx(1)


@given(boxes(), boxes(), st.integers(1, 5000), st.integers(1, 5000))
def test_iou_is_the_same_in_pixels(a, b, width, height):
    assert raw_iou(a.to_pixels(width, height), b.to_pixels(width, height)) == pytest.approx(a.iou(b), abs=1e-6)


@given(boxes(), st.integers(1, 5000), st.integers(1, 5000))
def test_pixels_and_back(box, width, height):
    again = Box.from_pixels(*box.to_pixels(width, height), width=width, height=height)
    assert again.as_tuple() == pytest.approx(box.as_tuple(), abs=1e-9)


@pytest.mark.parametrize(
    "pixels, complaint",
    [
        ((0, 0, 641, 10), "leaves its 640 x 480 picture"),
        ((-1, 0, 5, 10), "leaves its 640 x 480 picture"),
        ((0, 0, 5, math.nan), "leaves its 640 x 480 picture"),
        ((9, 0, 5, 10), "reversed or empty"),
    ],
)
def test_pixels_must_be_a_box_of_the_picture(pixels, complaint):
    with pytest.raises(InputError, match=complaint):
        Box.from_pixels(*pixels, width=640, height=480)


def test_the_whole_picture_in_pixels_is_the_whole_frame():
    for width in (3, 7, 333, 640, 4961):
        assert Box.from_pixels(0, 0, width, width, width=width, height=width) == Box(0, 0, 1000, 1000)


@pytest.mark.parametrize(
    "box, step, rounded, why",
    [
        (Box(12.4, 12.5, 900.6, 901), 1, Box(12, 13, 901, 901), "halves go up"),
        (Box(12, 13, 900, 901), 20, Box(20, 20, 900, 900), "13 is nearer to 20"),
        (Box(12, 12, 14, 900), 20, Box(0, 20, 20, 900), "collapsed at 20: the cell that holds the middle, 13"),
        (Box(500.2, 0, 500.4, 1000), 1, Box(500, 0, 501, 1000), "a sliver keeps one thousandth"),
        (Box(999.8, 999.8, 1000, 1000), 1, Box(999, 999, 1000, 1000), "at the edge it grows inwards"),
        (Box(0, 0, 1000, 1000), 300, Box(0, 0, 900, 900), "a step that does not divide 1000 stays inside"),
        (Box(950, 950, 1000, 1000), 300, Box(600, 600, 900, 900), "even where the middle lies beyond the last cell"),
    ],
)
def test_rounded(box, step, rounded, why):
    assert box.rounded(step) == rounded, why


@pytest.mark.parametrize("step", [0, -5, 1001])
def test_impossible_steps_are_refused(step):
    with pytest.raises(InputError, match="box step"):
        Box(0, 0, 1, 1).rounded(step)


@given(boxes(), st.integers(1, 1000))
def test_rounding_lands_on_the_grid_and_stays_there(box, step):
    once = box.rounded(step)
    assert all(corner % step == 0 for corner in once.as_tuple())
    assert once.rounded(step) == once
    if 1000 % step == 0:  # otherwise the far edge has no multiple near it
        assert all(abs(a - b) <= step for a, b in zip(box.as_tuple(), once.as_tuple(), strict=True))


def test_text_is_whole_thousandths():
    assert Box(518.6, 608.2, 986, 768).text() == "(519,608),(986,768)"
