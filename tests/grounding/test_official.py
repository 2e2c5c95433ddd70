from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepperception.grounding.official import official_box, official_reading

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data/official_boxes.jsonl").read_text(encoding="utf-8").splitlines()
]

# The forms as the paper's section 1b words them, each blank as short as possible; too slow for a long, odd reply.
N, ANY = r"(\d*?)", r"(.*?)"
PLAIN_FORMS = [
    rf"<answer>.*?\({N},.*?{N}\),\({N},{N}\)</answer>",
    rf"So the answer is.*?\({N},.*?{N}\),\({N},{N}\)",
    rf"\({N},.*?{N}\),\({N},{N}\)",
    rf"\({ANY},.*?{ANY}\).*?\({ANY},.*?{ANY}\)",
    rf"\[{N}, {N}, {N}, {N}\]",
    rf"\[{ANY}, {ANY}, {ANY}, {ANY}\]",
    rf"\({N}, {N}, {N}, {N}\)",
    rf"\({N}, {N}\)\n?.*?\({N}, {N}\)",
]


def test_all_vectors_are_there():
    assert len(VECTORS) == 213
    assert {vector["form"] for vector in VECTORS} == set(range(9))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"form{vector['form']}")
def test_vectors(vector):
    assert official_reading(vector["text"]) == (tuple(vector["box"]), vector["form"])
    assert official_box(vector["text"]) == tuple(vector["box"])


@pytest.mark.parametrize(
    "text, box, why",
    [
        ("[12,34,56,78]", (0, 0, 0, 0), "upstream wants a space after each comma"),
        ("[12, 34, 56, 78]", (12, 34, 56, 78), "with the space"),
        ("(10,20),(30,40) (50,60),(70,80)", (50, 60, 70, 80), "the last match wins"),
        ("<answer>(9,9),(10,10)</answer> (50,60),(70,80)", (9, 9, 10, 10), "an earlier form beats a later place"),
        (
            "<answer>a (9,9),(10,10) </answer> (50,60),(70,80)",
            (50, 60, 70, 80),
            "a space before </answer> breaks form 1",
        ),
        ("(10,a 20),(30,40)", (10, 20, 30, 40), "anything may stand before the second number"),
        ("[x10, 20, 30, 40]", (10, 20, 30, 40), "x is removed from the first part"),
        ("[10, x20, 30, 40]", (0, 0, 0, 0), "and only from the first"),
        ("(0,0),(1,1)", (0, 0, 1000, 1000), "a small sum is taken for fractions"),
        ("(-100,1),(2,3)", (-100_000, 1000, 2000, 3000), "even where it is small because of a minus sign"),
        ("(1,2)\n\nthen (3,4)", (0, 0, 0, 0), "no form spans two newlines"),
    ],
)
def test_quirks(text, box, why):
    assert official_box(text) == box, why


pieces = st.sampled_from(
    [
        "(",
        ")",
        "),(",
        "[",
        "]",
        ",",
        ", ",
        "1",
        "23",
        "x",
        " ",
        "\n",
        "٣",
        "a",
        "</answer>",
        "<answer>",
        "So the answer is",
    ]
)


@given(st.lists(pieces, max_size=24).map("".join) | st.text("()0123456789,[] \n<>|box_startend", max_size=40))
@settings(max_examples=1500, deadline=None)
@example("<answer>(1,(2,3),(4,5)</answer>(6,7),(8,9)</answer>")
@example("((1,2)(3,(4,5),6)")
@example("(1),(2,3)")
@example("(1,2),(3,4),(5,6),(7,8)")
@example("(1,23),(4,5)x(6,\n(7,8),(9,0)")
@example("(1, 2)\n(3, 4)(5, 6)")
def test_the_quick_forms_match_what_the_plain_ones_match(text):
    plain = [(number, found) for number, form in enumerate(PLAIN_FORMS, 1) if (found := re.findall(form, text))]
    (number, matches) = plain[0] if plain else (0, [("0", "0", "0", "0")])
    first, *others = matches[-1]
    try:
        corners = [float(part) for part in (first.replace("[", "").replace("x", ""), *others)]
    except ValueError:
        corners = [0.0] * 4
    scale = 1000 if sum(corners) < 4 else 1
    assert official_reading(text) == (tuple(corner * scale for corner in corners), number)


@pytest.mark.parametrize("end", ["", "9" * 20_000, "),(" * 5_000, "(1" * 5_000, ", " * 5_000])
@pytest.mark.parametrize(
    "piece",
    [
        "(1,",
        "(",
        "(1, ",
        "[a, ",
        "[1, ",
        "(1, 2)",
        "(1, 2)\n",
        "<answer>(1,",
        "(1,2),(3",
        "1",
        "So the answer is(1,",
        "),(",
    ],
)
def test_a_reply_that_repeats_itself_is_read_quickly(piece, end):
    started = time.perf_counter()
    official_box(piece * (20_000 // len(piece)) + end)
    assert time.perf_counter() - started < 1, "the plain forms would take days"
