"""The update's forward pass over groups: picture and prompt once, all completions of the prompt behind them in one row.

    prompt without its last token | last token, completion 1 without its last | last token, completion 2 ... | ...

Each completion sees the prompt and itself; its positions go on where the prompt ends. The prompt's last token stands
before every completion, because from there each first token is predicted: so every place predicts one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

IGNORED = -100
"""Label of a place that predicts nothing, as everywhere in transformers."""
_PROMPT, _PADDING = -1, -2


@dataclass(frozen=True)
class Packed:
    """Groups as rows, S tokens each, for a model of the Qwen-VL kind and its `shift_labels`."""

    input_ids: torch.Tensor
    """(groups, S)"""
    position_ids: torch.Tensor
    """(3, groups, S)"""
    attention_mask: torch.Tensor
    """(groups, 1, S, S), True where a place is seen."""
    labels: torch.Tensor
    """(groups, S): the token that each place predicts."""
    places: torch.Tensor
    """(completions, longest): where in the flattened rows each token of each completion is predicted; 0 beyond."""

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """What is known of each place, (groups, S), as (completions, longest); of no meaning beyond a completion."""
        return values.flatten()[self.places]


def pack(
    prompts: Sequence[torch.Tensor], positions: Sequence[torch.Tensor], groups: Sequence[Sequence[torch.Tensor]]
) -> Packed:
    """Pack the completions of each prompt behind it.

    A prompt is (P,) token ids without padding, its positions (3, P), a completion (C,) token ids. `places` are in the
    order of the completions, group by group.
    """
    rows = [_row(*each) for each in zip(prompts, positions, groups, strict=True)]
    device, length = prompts[0].device, max(len(row.tokens) for row in rows)
    longest = max(len(completion) for group in groups for completion in group)

    def padded(parts: list[torch.Tensor], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    owners = padded([row.owners for row in rows], _PADDING)
    order = torch.arange(length, device=device)
    visible = (owners[:, None, :] == _PROMPT) | (owners[:, None, :] == owners[:, :, None])
    places = [
        torch.nn.functional.pad(start + number * length + order[:size], (0, longest - size))
        for number, row in enumerate(rows)
        for start, size in row.spans
    ]
    return Packed(
        input_ids=padded([row.tokens for row in rows], 0),
        position_ids=padded([row.positions.T for row in rows], 0).permute(2, 0, 1),
        attention_mask=(visible & (order[None, :] <= order[:, None]))[:, None],
        labels=padded([row.labels for row in rows], IGNORED),
        places=torch.stack(places),
    )


@dataclass(frozen=True)
class _Row:
    tokens: torch.Tensor
    positions: torch.Tensor
    owners: torch.Tensor
    labels: torch.Tensor
    spans: list[tuple[int, int]]
    """(first place, tokens) of each completion."""


def _row(prompt: torch.Tensor, positions: torch.Tensor, completions: Sequence[torch.Tensor]) -> _Row:
    shared, last = prompt[:-1], prompt[-1:]
    tokens, labels = [shared], [torch.full_like(shared, IGNORED)]
    where, owners, spans = [positions[:, :-1]], [torch.full_like(shared, _PROMPT)], []
    filled = len(shared)
    for number, completion in enumerate(completions):
        size = len(completion)
        tokens += [last, completion[:-1]] if size else []
        labels.append(completion)
        where.append(positions[:, -1:] + torch.arange(size, device=prompt.device))
        owners.append(torch.full_like(completion, number))
        spans.append((filled, size))
        filled += size
    return _Row(torch.cat(tokens), torch.cat(where, dim=1), torch.cat(owners), torch.cat(labels), spans)
