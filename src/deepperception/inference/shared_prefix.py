"""Several completions of one prompt, decoded together: picture and prompt are encoded once, and their keys kept once.

A group of completions is a row of the batch, not G rows. In each step a row asks with one query for each completion
that still runs; a mask lets each of them see the prompt and its own words only. Nothing of the prompt is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

EVERYONE, NOBODY = -1, -2
"""Owners of a key: part of the prompt, which all completions see; padding, which none sees."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. `suppress` are tokens that are never drawn, `ends` those that end a completion."""

    max_new_tokens: int
    ends: tuple[int, ...]
    suppress: tuple[int, ...] = ()
    temperature: float = 1.0


@torch.no_grad()
def sample_groups(model: Any, prompts: Mapping[str, Any], group_size: int, sampling: Sampling) -> list[list[list[int]]]:
    """Token ids of `group_size` completions a prompt, each up to and with its end token.

    `prompts` is what the processor returns for a batch of prompts, one row each, padded on the left: `input_ids`,
    `attention_mask`, and for pictures `pixel_values`, `image_grid_thw`, `mm_token_type_ids`. Draws from torch's global
    random state. Works for Qwen2-VL, Qwen2.5-VL and Qwen3-VL under sdpa or eager attention.
    """
    positions = prompt_positions(model, prompts)
    next_position = positions[0].amax(dim=-1) + 1
    seen = prompts["attention_mask"].bool()
    cache = GrowingCache(model.config.get_text_config().num_hidden_layers)
    inputs = {key: value for key, value in prompts.items() if key != "mm_token_type_ids"}
    reply = model(**inputs, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)

    groups = [_Group(group_size, sampling) for _ in range(seen.shape[0])]
    rows = list(range(len(groups)))  # the prompts that the cache still holds
    owners = torch.full_like(seen, NOBODY, dtype=torch.long).masked_fill(seen, EVERYONE)
    first = _draw(reply.logits[:, -1:].expand(-1, group_size, -1), sampling)
    for row, tokens in enumerate(first.tolist()):
        groups[row].take(list(range(group_size)), tokens)
    for step in range(sampling.max_new_tokens - 1):
        running = [row for row in rows if groups[row].running]
        if not running:
            break
        if 2 * len(running) <= len(rows):
            kept = torch.tensor([rows.index(row) for row in running], device=owners.device)
            cache.batch_select_indices(kept)
            owners, next_position, rows = owners[kept], next_position[kept], running
        asking, tokens = _queries([groups[row] for row in rows], owners.device)
        owners = torch.cat([owners, asking], dim=1)
        visible = (owners[:, None, :] == EVERYONE) | (owners[:, None, :] == asking[:, :, None])
        position = (next_position + step)[:, None].expand_as(asking)
        logits = model(
            input_ids=tokens,
            attention_mask=visible[:, None],
            position_ids=position.expand(3, *position.shape),
            past_key_values=cache,
            use_cache=True,
        ).logits
        for row, columns, drawn in zip(rows, asking.tolist(), _draw(logits, sampling).tolist(), strict=True):
            groups[row].take(columns, drawn)
    return [group.completions for group in groups]


def prompt_positions(model: Any, prompts: Mapping[str, Any]) -> torch.Tensor:
    """Rotary positions of the prompts' tokens, (3, prompts, tokens): time, height, width."""
    body = model.model
    pictures = {key: prompts[key] for key in ("image_grid_thw", "mm_token_type_ids") if key in prompts}
    if "image_grid_thw" in pictures:
        positions, _ = body.get_rope_index(prompts["input_ids"], attention_mask=prompts["attention_mask"], **pictures)
        return positions
    counted = (prompts["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return counted.expand(3, *counted.shape)


class _Group:
    """The completions of one prompt while they grow."""

    def __init__(self, size: int, sampling: Sampling) -> None:
        self.completions: list[list[int]] = [[] for _ in range(size)]
        self.running = list(range(size))
        self._ends = frozenset(sampling.ends)

    def take(self, columns: Sequence[int], tokens: Sequence[int]) -> None:
        """Append each token to the completion that its column belongs to; padding columns are passed over."""
        for completion, token in zip(columns, tokens, strict=True):
            if completion >= 0:
                self.completions[completion].append(token)
        self.running = [number for number in self.running if self.completions[number][-1] not in self._ends]


def _queries(groups: Sequence[_Group], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which completion asks in which column, and with which token; rows with fewer running ones are padded."""
    width = max(len(group.running) for group in groups)
    asking = [group.running + [NOBODY] * (width - len(group.running)) for group in groups]
    tokens = [
        [group.completions[number][-1] if number >= 0 else 0 for number in columns]
        for group, columns in zip(groups, asking, strict=True)
    ]
    return torch.tensor(asking, device=device), torch.tensor(tokens, device=device)


def _draw(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """One token for each position of (rows, columns, vocabulary) logits."""
    logits = logits.float() / sampling.temperature
    if sampling.suppress:
        logits[..., list(sampling.suppress)] = -torch.inf
    drawn = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1)
    return drawn.view(logits.shape[:2])


class GrowingCache(Cache):
    """Keys and values in buffers with room to spare: stock DynamicCache copies all of them at every step."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[_GrowingLayer() for _ in range(layers)])


class _GrowingLayer(DynamicLayer):
    _room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < after:
            self._room = self._enlarged(key_states, value_states, before, capacity=after + after // 2)
        keys, values = self._room
        keys[..., before:after, :] = key_states
        values[..., before:after, :] = value_states
        self.is_initialized = True
        self.keys, self.values = keys[..., :after, :], values[..., :after, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self._room is not None:
            after = self.get_seq_length()
            keys, values = self._room = (self._room[0][indices], self._room[1][indices])
            self.keys, self.values = keys[..., :after, :], values[..., :after, :]

    def _enlarged(
        self, key_states: torch.Tensor, value_states: torch.Tensor, before: int, capacity: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, heads, _, width = key_states.shape
        keys = key_states.new_empty(rows, heads, capacity, width)
        values = value_states.new_empty(rows, heads, capacity, value_states.shape[-1])
        if before and self.keys is not None and self.values is not None:
            keys[..., :before, :], values[..., :before, :] = self.keys, self.values
        return keys, values
