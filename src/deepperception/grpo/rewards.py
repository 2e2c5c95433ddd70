"""What a completion earns: pure functions of its text and the row's box or letter.

All read the text of the last complete <answer>, with or without the special tokens that decoding may have stripped,
and none of them raises, whatever the text.
"""

from __future__ import annotations

import re

from deepperception.grounding.boxes import Box, raw_iou
from deepperception.grounding.choices import answered_letter
from deepperception.grounding.official import official_box
from deepperception.grounding.robust import closed_answer

_THINK_THEN_ANSWER = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
_CANONICAL_BOX = re.compile(r"\(\d+,\d+\),\(\d+,\d+\)")


def iou_reward(text: str, target: Box, *, threshold: float) -> float:
    """IoU where it exceeds `threshold`, else 0 (paper, stage 2: threshold 0.8).

    A raw IoU pays for boxing the whole picture; the threshold makes a group's best completions stand out.
    """
    iou = raw_iou_reward(text, target)
    return iou if iou > threshold else 0.0


def raw_iou_reward(text: str, target: Box) -> float:
    """IoU of the answer's box with `target`, in [0, 1]; 0 without an <answer> (VLM-R1's reward, no threshold).

    Reads the box as the paper's evaluator would, so that nothing is paid for what it scores as wrong: swapped corners
    earn 0. A box in the reasoning earns nothing.
    """
    answer = closed_answer(text)
    return 0.0 if answer is None else raw_iou(official_box(answer), target.as_tuple())


def format_reward(text: str) -> float:
    """0.5 for thinking and then answering, 0.5 for an answer whose box is written `(x1,y1),(x2,y2)` (paper, stage 2).

    The second half differs from the released R1-V code, where an off-by-one in numbering the forms means that it is
    never paid. As there, nothing is asked of what follows the answer.
    """
    answer = closed_answer(text)
    tags = _THINK_THEN_ANSWER.match(text) is not None
    canonical = answer is not None and _CANONICAL_BOX.search(answer) is not None
    return 0.5 * tags + 0.5 * canonical


def letter_reward(text: str, answer: str) -> float:
    """1 where the last <answer> holds the right letter and no more, else 0 (R1-V's runs on FGVR, paper section 2.8).

    A right letter beside others, or within a sentence, earns nothing: naming all four would else pay.
    """
    return float(answered_letter(text) == answer)


def letter_format_reward(text: str) -> float:
    """1 for thinking and then answering, else 0 (R1-V: tags alone, there is no box whose writing could count).

    It does not ask what stands in the answer: that is the letter's own reward.
    """
    return float(_THINK_THEN_ANSWER.match(text) is not None)
