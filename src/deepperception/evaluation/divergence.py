"""How far a stage has moved from the one before it, token by token (the paper's figure 5 of v2).

Both models read the later one's own greedy replies; at every token their distributions over the whole vocabulary are
compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepperception.grounding import DialogueName, Sample, turns
from deepperception.inference.engine import Request
from deepperception.progress import Progress

if TYPE_CHECKING:
    from deepperception.inference.teacher_forcing import TeacherForcing

Part = Literal["reasoning", "answer", "tags"]
PARTS: tuple[Part, ...] = ("reasoning", "answer", "tags")
_RESAMPLES = 2_000


@dataclass(frozen=True)
class TokenDivergence:
    """One token of a reply: which part it belongs to, and KL(later || before) there, in nats."""

    part: Part
    exact: float
    """Over the whole vocabulary."""
    k3: float
    """Schulman's estimate from the one token that was written: what GRPO's penalty sees."""


def parts_of(pieces: Sequence[str]) -> list[Part]:
    """The part of each token: within <think>, within <answer>, or their tags; without tags everything is the answer."""
    text, starts = "", []
    for piece in pieces:
        starts.append(len(text))
        text += piece
    if "<think>" not in text and "<answer>" not in text:
        return ["answer"] * len(pieces)
    part: list[Part] = ["tags"] * len(text)
    for opening, closing, name in (("<think>", "</think>", "reasoning"), ("<answer>", "</answer>", "answer")):
        if (start := text.find(opening)) >= 0:
            end = text.find(closing, start)
            for place in range(start + len(opening), len(text) if end < 0 else end):
                part[place] = name  # type: ignore[call-overload]
    # A token that begins outside belongs to the tag, even where it reaches into what follows.
    return [part[min(start, len(text) - 1)] if text else "tags" for start in starts]


def divergence(
    later: TeacherForcing,
    before: TeacherForcing,
    samples: Iterable[Sample],
    prompt: DialogueName,
    *,
    max_new_tokens: int,
    total: int,
    progress: Progress,
) -> dict[str, Any]:
    """{"replies", "parts": {"reasoning": {"tokens", "exact": {"mean", "ci95"}, "k3": {...}}, "answer": ...}}.

    Means are over tokens; intervals are by the bootstrap over replies, whose tokens hang together.
    """
    later.refuse_other_words(before)
    replies = []
    with progress.track(total, "divergence") as bar:
        for sample in samples:
            request = Request(turns(prompt, sample.question)[-1], sample.image, name=sample.question_id)
            replies.append(_tokens(later, before, request, max_new_tokens))
            bar.advance()
    return {"replies": len(replies), "parts": {part: _summed(replies, part) for part in PARTS}}


def _tokens(
    later: TeacherForcing, before: TeacherForcing, request: Request, max_new_tokens: int
) -> list[TokenDivergence]:
    import torch

    reply = later.reply(request, max_new_tokens)
    if not reply.ids:
        return []
    p, q = later.log_probabilities(request, reply), before.log_probabilities(request, reply)
    # A probability of 0 in fp32 adds nothing, and would be 0 * inf.
    exact = torch.where(p.exp() > 0, p.exp() * (p - q), 0.0).sum(dim=-1)
    chosen = torch.tensor(reply.ids, device=p.device)[:, None]
    ratio = (q.gather(1, chosen) - p.gather(1, chosen))[:, 0]
    k3 = ratio.exp() - ratio - 1
    parts = parts_of(reply.pieces)
    return [TokenDivergence(*each) for each in zip(parts, exact.tolist(), k3.tolist(), strict=True)]


def _summed(replies: Sequence[Sequence[TokenDivergence]], part: Part) -> dict[str, Any]:
    kept = [[token for token in reply if token.part == part] for reply in replies]
    kept = [reply for reply in kept if reply]
    tokens = sum(map(len, kept))
    return {
        "tokens": tokens,
        "exact": _mean([[token.exact for token in reply] for reply in kept]),
        "k3": _mean([[token.k3 for token in reply] for reply in kept]),
    }


def _mean(values: Sequence[Sequence[float]]) -> dict[str, Any]:
    if not values:
        return {"mean": None, "ci95": None}
    sums, counts = np.array([math.fsum(reply) for reply in values]), np.array([len(reply) for reply in values])
    drawn = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(sums.sum() / counts.sum()), "ci95": [float(low), float(high)]}
