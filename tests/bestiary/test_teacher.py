from __future__ import annotations

import pytest

from deepperception.bestiary.corpus import verdict
from deepperception.bestiary.teacher import RuleTeacher
from deepperception.bestiary.world import Attributes, families
from deepperception.errors import InputError
from deepperception.inference.engine import Decoding, Request

FIRST, SECOND, THIRD = families()["blob"].species[:3]


def explain(text: str, box_step: int = 25) -> str:
    (replies,) = RuleTeacher({}, box_step).generate([Request(text, b"")], Decoding())
    return replies[0]


def request(target: str, *objects: tuple[str, str]) -> str:
    lines = [f"- {name}: {box}" for name, box in objects]
    return "\n".join(["category: blob", *lines, f"Target: {target}: {dict(objects)[target]}"])


def test_recalls_the_look_then_inspects_in_reading_order_until_the_match() -> None:
    text = request(
        SECOND.name,
        (THIRD.name, "(510,520),(900,900)"),
        (SECOND.name, "(512,10),(890,440)"),
        (FIRST.name, "(20,26),(400,401)"),
    )
    assert explain(text).split("\n") == [
        f"A {SECOND.name} is {SECOND.attributes.text()}.",
        f"(25,25),(400,400) {verdict(FIRST.attributes, SECOND.attributes)}",
        f"(500,0),(900,450) {SECOND.attributes.text()}: match.",
    ]


def test_knows_only_names_of_what_is_not_in_its_world() -> None:
    text = request("raccoon", ("kangaroo", "(0,0),(400,1000)"), ("raccoon", "(500,0),(1000,1000)"))
    assert explain(text, box_step=1).split("\n") == [
        "Look for raccoon.",
        "(0,0),(400,1000) kangaroo: no.",
        "(500,0),(1000,1000) raccoon: match.",
    ]


@pytest.mark.parametrize("text", ["", "Target: Dankin: (1,2),(3,4)", "- Dankin: (1,2),(3,4)"])
def test_a_request_without_objects_or_target_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no objects or no target"):
        explain(text)


def test_has_no_settings() -> None:
    with pytest.raises(InputError, match=r"synthesis\.teacher\.options: unknown key 'mood'"):
        RuleTeacher({"mood": "good"}, 25)


@pytest.mark.parametrize(
    "looks, said",
    [
        (Attributes("red", "plain", "hornless"), "red: no."),
        (Attributes("blue", "plain", "hornless"), "blue plain: no."),
        (Attributes("blue", "striped", "hornless"), "blue striped hornless: no."),
        (Attributes("blue", "striped", "black-horned"), "blue striped black-horned: match."),
    ],
)
def test_a_verdict_ends_at_the_first_difference(looks: Attributes, said: str) -> None:
    assert verdict(looks, Attributes("blue", "striped", "black-horned")) == said
