"""The loop of transformers' generate for batches whose replies differ in length: a row that has ended costs no more.

Stock generate keeps every row in the batch until the longest reply has ended. A model that thinks writes replies of
very different lengths, so that most of the work of a large batch would be on rows that are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# Taking rows out copies the cache of the others, which pays once enough of them have ended.
_WORTH_DROPPING = 1 / 8


class Chances:
    """What each row draws by, independent of the rows beside it: a generator of its own."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def pick(self, scores: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """A token for each of `rows`, with the chances that `scores` (rows x vocabulary) give it.

        Dividing chances by exponential noise and taking the largest draws from them, as torch.multinomial does.
        """
        chances = scores.softmax(dim=-1)
        noise = torch.stack([torch.empty_like(chances[0]).exponential_(generator=self._generators[r]) for r in rows])
        return (chances / noise).argmax(dim=-1)


def shrinking(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: Any,
    generation_config: Any,
    stopping_criteria: Any = None,
    synced_gpus: bool = False,
    streamer: Any = None,
    draw: Chances | None = None,
    **model_kwargs: Any,
) -> torch.Tensor:
    """To be given to generate as `custom_generate`: the same tokens as its own loop, greedy or by `draw`.

    Prompts end together (padded on the left); replies end at generation_config's end tokens or at its max_length.
    """
    inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **model_kwargs)
    outputs = model(**inputs, return_dict=True)
    cache, mask = outputs.past_key_values, model_kwargs.get("attention_mask")
    position = model_kwargs["position_ids"][..., -1:]
    ended = torch.tensor(_as_list(generation_config.eos_token_id), device=input_ids.device)
    pad = _as_list(generation_config.pad_token_id)[0]
    texts = torch.full(
        (len(input_ids), generation_config.max_length), pad, dtype=input_ids.dtype, device=input_ids.device
    )
    texts[:, : input_ids.shape[1]] = input_ids
    rows = torch.arange(len(input_ids), device=input_ids.device)
    going = torch.ones_like(rows, dtype=torch.bool)
    for place in range(input_ids.shape[1], generation_config.max_length):
        scores = _processed(logits_processor, texts[:, :place], outputs.logits[:, -1].float(), rows)
        tokens = scores.argmax(dim=-1) if draw is None else draw.pick(scores, rows.tolist())
        tokens = torch.where(going, tokens, pad)
        texts[rows, place] = tokens
        going = going & ~torch.isin(tokens, ended)
        left = int(going.sum())
        if left == 0:
            return texts[:, : place + 1]
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
        position = position + 1
        if len(going) - left >= max(1, _WORTH_DROPPING * len(going)):
            kept = going.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, tokens, going, position = rows[kept], tokens[kept], going[kept], position[..., kept, :]
            mask = mask if mask is None else mask[kept]
        outputs = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
        )
    return texts


def _processed(logits_processor: Any, texts: torch.Tensor, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The scores of `rows`. Some processors remember the rows they began with: they are shown all of them."""
    if len(rows) == len(texts):
        return logits_processor(texts, logits)
    everywhere = logits.new_zeros((len(texts), logits.shape[1]))
    everywhere[rows] = logits
    return logits_processor(texts, everywhere)[rows]


def _as_list(ids: int | Sequence[int] | None) -> list[int]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else list(ids)
