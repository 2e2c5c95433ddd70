"""Which reasoning is good enough to learn from. The paper checks none automatically; this is the project's own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal

from deepperception.grounding import Box, Sample
from deepperception.synthesis.config import FilterConfig

Reason = Literal[
    "empty", "too long", "holds markup", "target not named", "concludes with another box", "names an absent entity"
]

_BOX = re.compile(r"\(\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\)\s*,\s*\(\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\)")
# Tags and special tokens would end the reasoning early once it stands in a completion.
_MARKUP = re.compile(r"</?(think|answer)>|<\|")


class Filter:
    """Judges reasoning about pictures of one source.

    `names` are all entities of each category; `box_step` is what the teacher was told boxes in.
    """

    def __init__(self, config: FilterConfig, names: Mapping[str, Collection[str]], box_step: int) -> None:
        self.config = config
        self.box_step = box_step
        self._names = {category: _any_of(entities) for category, entities in names.items()}

    def refusal(self, reasoning: str, sample: Sample) -> Reason | None:
        """Why this reasoning cannot be used for this sample; None where it can."""
        if not reasoning.strip():
            return "empty"
        if len(reasoning) > self.config.max_characters:
            return "too long"
        if markup_in(reasoning):
            return "holds markup"
        named = {match.casefold() for match in self._names[sample.category].findall(reasoning)}
        if sample.entity.casefold() not in named:
            return "target not named"
        if named - {thing.entity.casefold() for thing in sample.objects}:
            return "names an absent entity"
        if self._concludes_elsewhere(reasoning, sample.target):
            return "concludes with another box"
        return None

    def _concludes_elsewhere(self, reasoning: str, target: Box) -> bool:
        """Whether the last box in the text is not the target's. The request asks teachers to end with it."""
        boxes = _BOX.findall(reasoning)
        if not boxes:
            return False
        x1, y1, x2, y2 = (int(number) for number in boxes[-1])
        if not (0 <= x1 < x2 <= 1000 and 0 <= y1 < y2 <= 1000):
            return True
        return Box(x1, y1, x2, y2).iou(target.rounded(self.box_step)) < self.config.target_iou


def markup_in(reasoning: str) -> bool:
    """Whether it holds a tag or a special token that would end it early in a completion."""
    return _MARKUP.search(reasoning) is not None


def _any_of(names: Collection[str]) -> re.Pattern[str]:
    """Finds whole names, the longest first: "Boeing 747-400" is not also a "Boeing 747"."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)", re.IGNORECASE)
