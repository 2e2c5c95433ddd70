"""Boxes on pictures."""

import pytest
from PIL import Image, ImageColor

from deepperception.evaluation.drawing import RIGHT, TARGET, Mark, draw_boxes

GREY = (128, 128, 128)


def picture(width=112, height=112):
    return Image.new("RGB", (width, height), GREY)


def count(image, colour):
    wanted = ImageColor.getrgb(colour)
    return sum(number for number, found in image.getcolors(1 << 24) if found == wanted)


@pytest.mark.parametrize(
    ("size", "drawn", "why"),
    [
        ((112, 112), (448, 448), "small pictures are enlarged by a whole factor"),
        ((56, 28), (504, 252), "the longer side decides"),
        ((500, 375), (500, 375), "large enough"),
        ((3000, 10), (3000, 10), "never made smaller"),
    ],
)
def test_small_pictures_are_enlarged(size, drawn, why):
    assert draw_boxes(picture(*size), []).size == drawn, why


def test_the_line_lies_on_the_box_and_the_original_is_left_alone():
    original = picture()
    drawn = draw_boxes(original, [Mark((20, 30, 60, 90), "", RIGHT)])
    blue = ImageColor.getrgb(RIGHT)
    for x, y in ((80, 200), (240, 200), (160, 120), (160, 360)):
        assert drawn.getpixel((x, y)) == blue
    assert drawn.getpixel((160, 240)) == GREY
    assert original.getcolors() == [(112 * 112, GREY)]


def test_coinciding_boxes_show_both_colours():
    box = (20, 30, 60, 90)
    drawn = draw_boxes(picture(), [Mark(box, "", TARGET, dashed=True), Mark(box, "", RIGHT)])
    assert min(count(drawn, TARGET), count(drawn, RIGHT)) > 500


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((-500, -500, 900, 900), "beyond every edge"),
        ((60, 90, 20, 30), "reversed"),
        ((20, 20, 20, 20), "without a size"),
        ((300, 300, 400, 400), "outside altogether"),
    ],
)
def test_any_box_can_be_drawn(box, why):
    drawn = draw_boxes(picture(), [Mark(box, "a label", RIGHT), Mark(box, "another", TARGET, dashed=True)])
    assert count(drawn, RIGHT) and count(drawn, TARGET), f"{why}: the labels are there at least"


def test_labels_of_one_box_do_not_cover_each_other():
    alone = count(draw_boxes(picture(), [Mark((20, 50, 60, 90), "Boeing 747", TARGET)]), TARGET)
    both = draw_boxes(picture(), [Mark((20, 50, 60, 90), "Boeing 747", TARGET), Mark((20, 50, 60, 90), "other", RIGHT)])
    lines = count(draw_boxes(picture(), [Mark((20, 50, 60, 90), "", TARGET)]), TARGET)
    assert count(both, TARGET) >= alone - lines


@pytest.mark.parametrize("label", ["x" * 500, "Ünïcode 名前 🦝", "two\nlines", " "])
def test_any_name_can_be_a_label(label):
    draw_boxes(picture(), [Mark((20, 30, 60, 90), label, RIGHT)])
