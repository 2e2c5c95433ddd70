"""The laptop's teacher: not a model but rules over the knowledge base, behind the protocol of a real teacher."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deepperception.bestiary.corpus import inspection, verdict
from deepperception.bestiary.world import knowledge
from deepperception.errors import InputError
from deepperception.grounding import Box
from deepperception.inference.engine import Decoding, Request
from deepperception.settings import Settings, parse

_OBJECT = re.compile(r"^- (?P<name>.+): \((\d+),(\d+)\),\((\d+),(\d+)\)$", re.MULTILINE)
_CHOICE = re.compile(r"^([A-D])\. (.+)$", re.MULTILINE)
_RIGHT = re.compile(r"^Right: [A-D]\. (.+)$", re.MULTILINE)
_TARGET = re.compile(r"^Target: (?P<name>.+): \((\d+),(\d+)\),\((\d+),(\d+)\)$", re.MULTILINE)


class RuleTeacherOptions(Settings):
    """It has none: it is right about all it knows."""


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    box: Box


class RuleTeacher:
    """Explains a target by what is known of it: recalls its look, inspects one candidate after the other.

    It reads names and boxes from the request's text and does not look at the picture. Of an entity that the knowledge
    base does not hold it can only say where the candidates are and which of them bears the name.
    """

    def __init__(self, options: dict[str, Any], box_step: int) -> None:
        parse(options, RuleTeacherOptions, where="synthesis.teacher.options")
        self.box_step = box_step
        self.backend = {"engine": "rules", "version": "1", "dtype": "none"}

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        """The same reasoning for every sample: rules do not vary."""
        for request in requests:
            yield [self._explain(request.text)] * decoding.samples

    def _explain(self, text: str) -> str:
        if right := _RIGHT.search(text):
            return _explain_choice(_CHOICE.findall(text), right[1])
        candidates = [_named(match) for match in _OBJECT.finditer(text)]
        target = _TARGET.search(text)
        if target is None or not candidates:
            raise InputError("the request to the rule teacher names no objects or no target with boxes.")
        wanted = _named(target)
        ordered = reading_order(candidates)
        if not all(candidate.name in knowledge() for candidate in candidates):
            return self._explain_by_name(ordered, wanted)
        looks = {each.name: knowledge()[each.name].attributes for each in candidates}
        seen = [(each.box.rounded(self.box_step).text(), looks[each.name]) for each in ordered]
        recalled = f"A {wanted.name} is {looks[wanted.name].text()}."
        return f"{recalled}\n{inspection(seen, looks[wanted.name])}"

    def _explain_by_name(self, ordered: list[_Named], wanted: _Named) -> str:
        lines = [f"Look for {wanted.name}."]
        for candidate in ordered:
            matches = candidate.name == wanted.name
            box = candidate.box.rounded(self.box_step).text()
            lines.append(f"{box} {candidate.name}: {'match' if matches else 'no'}.")
            if matches:
                break
        return "\n".join(lines)


def _explain_choice(choices: Sequence[tuple[str, str]], shown: str) -> str:
    """What is seen, then what is known of each choice up to the one that matches."""
    known = knowledge()
    if not all(name in known for _, name in choices):
        return "\n".join(f"{letter}. {name}: {'match' if name == shown else 'no'}." for letter, name in choices)
    seen = known[shown].attributes
    lines = [f"{seen.text()}."]
    for letter, name in choices:
        lines.append(f"{letter}. {name} is {verdict(known[name].attributes, seen)}")
        if name == shown:
            break
    return "\n".join(lines)


def reading_order(objects: Sequence[_Named]) -> list[_Named]:
    """Rows from the top, each from the left; a new row begins below the middle line of the row's first box."""
    ordered: list[_Named] = []
    row: list[_Named] = []
    for each in sorted(objects, key=lambda named: named.box.y1 + named.box.y2):
        if row and (each.box.y1 + each.box.y2) / 2 > row[0].box.y2:
            ordered += sorted(row, key=lambda named: named.box.x1)
            row = []
        row.append(each)
    return ordered + sorted(row, key=lambda named: named.box.x1)


def _named(match: re.Match[str]) -> _Named:
    x1, y1, x2, y2 = (int(number) for number in match.groups()[1:])
    return _Named(match["name"], Box(x1, y1, x2, y2))
