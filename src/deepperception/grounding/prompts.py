"""The user's turn: the question about an entity, and the prompts that wrap it (paper, section 1)."""

from __future__ import annotations

import re
from typing import Literal, cast, get_args

from deepperception.errors import InputError

PromptName = Literal["bare", "r1", "qwen3-vl", "cot-normal", "fgvr"]
"""Names of prompts of one turn, those of the paper's evaluation script; `fgvr` is r1 for multiple choice."""
DialogueName = Literal[PromptName, "cot-kvg"]
"""Every way to put a question; `cot-kvg` takes two turns, a description and then the question."""

REF_START, REF_END = "<|object_ref_start|>", "<|object_ref_end|>"

# Two spaces before "Output": the released weights were trained and scored with both.
_TEMPLATES: dict[str, str] = {
    "bare": "{question}",
    "r1": "{question}  Output the thinking process in <think> </think> "
    "and final answer (bounding box) in <answer> </answer> tags.",
    "qwen3-vl": "{question}, output its bbox coordinates using JSON format.",
    "cot-normal": "{question}. Let's think step by step",
    "fgvr": "{question}  Output the thinking process in <think> </think> and final answer in <answer> </answer> tags.",
}
_DIALOGUES = {
    "cot-kvg": (
        "Which object in this image is {reference}? Give a detailed and discriminative description of the appearance "
        "of it",
        "Based on the description, find and give the bounding box of {reference}",
    )
}

_REFERENCE = re.compile(re.escape(REF_START) + r"(.+?)" + re.escape(REF_END), re.DOTALL)


def question(entity: str) -> str:
    """KVG-Bench's question about `entity`; InputError for a blank name or one that carries special tokens."""
    return f"Find and give the bounding box of {reference(entity)}"


def reference(entity: str) -> str:
    """`entity` between the tokens by which Qwen2-VL names an object."""
    if not entity.strip():
        raise InputError("the entity's name is empty; give the name of what to find.")
    if "<|" in entity:
        raise InputError(f"the entity's name {entity!r} holds a special token ('<|'); give a plain name.")
    return f"{REF_START}{entity}{REF_END}"


def entity_of(text: str) -> str:
    """The entity named in a question or an answer; InputError where none is."""
    if found := _REFERENCE.search(text):
        return found[1]
    raise InputError(f"{_shortened(text)!r} names no entity; expected {REF_START}NAME{REF_END}.")


def render(prompt: PromptName, question: str) -> str:
    """The whole user turn: `bare` for base models (`qwen3-vl` for that family's), `r1` for models that think first.

    `cot-normal` asks a base model to think without having trained it to.
    """
    if prompt not in _TEMPLATES:
        raise InputError(f"there is no prompt {prompt!r}; choose one of: {', '.join(get_args(PromptName))}.")
    return _TEMPLATES[prompt].replace("{question}", question)


def turns(prompt: DialogueName, question: str) -> tuple[str, ...]:
    """The user's turns, the picture shown with the first; the reply to the last one is the answer."""
    if prompt not in _DIALOGUES:
        return (render(cast(PromptName, prompt), question),)
    name = reference(entity_of(question))
    return tuple(turn.replace("{reference}", name) for turn in _DIALOGUES[prompt])


def _shortened(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
