"""TRL's trainer with the work of a group done once: the only file that knows TRL's internals.

TRL hands every row of a batch through alone, though G rows share picture and prompt. Three of its methods are replaced:
how prompts are read, how completions are drawn, and how their probabilities are computed. Rewards, advantages, losses,
accumulation, distribution, logs stay TRL's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from transformers import BatchFeature, Trainer
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import pad, split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from deepperception.errors import InputError
from deepperception.grpo.packing import pack
from deepperception.inference.shared_prefix import Sampling, prompt_positions, sample_groups


class GroupTrainer(GRPOTrainer):
    """GRPO where the rows of one prompt share its picture's features and its keys, in the rollout and in the update.

    Loss and gradients are those of TRL's own trainer, but for rounding.
    """

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], list[Any], dict[str, Any]]:
        """As TRL does, but each picture is read once: the fields hold one row a group."""
        self._groups = _runs([_identity(prompt) for prompt in prompts])
        ids, _, fields = super()._tokenize_prompts([prompts[group[0]] for group in self._groups])
        images = [[part["image"] for part in _parts(prompt) if part["type"] == "image"] for prompt in prompts]
        return [ids[number] for number, group in enumerate(self._groups) for _ in group], images, fields

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Mapping[str, Any], *_: Any, **__: Any
    ) -> tuple[list[list[int]], None]:
        firsts = [torch.tensor(prompt_ids[group[0]]) for group in self._groups]
        inputs: dict[str, Any] = {
            "input_ids": pad(firsts, padding_value=self._tokenizer.pad_token_id, padding_side="left"),
            "attention_mask": pad([torch.ones_like(ids) for ids in firsts], padding_value=0, padding_side="left"),
        }
        for key, value in multimodal_fields.items():
            inputs[key] = value if isinstance(value, torch.Tensor) else _left_padded(value)
        inputs = Trainer._prepare_inputs(self, inputs)
        trl: Any = self
        sampling = Sampling(
            max_new_tokens=trl.max_completion_length,
            ends=tuple(trl.eos_token_ids),
            suppress=tuple(trl.generation_kwargs.get("suppress_tokens", ())),
            temperature=trl.temperature,
        )
        with unwrap_model_for_generation(
            trl.model_wrapped, trl.accelerator, gather_deepspeed3_params=trl.args.ds3_gather_for_generation
        ) as model:
            was_training = model.training
            model.eval()
            drawn = sample_groups(model, inputs, max(map(len, self._groups)), sampling)
            model.train(was_training)
        return [ids for group, found in zip(self._groups, drawn, strict=True) for ids in found[: len(group)]], None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **fields: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Log-probabilities and entropies of the completions' tokens, (rows, logits_to_keep); 0 beyond the mask."""
        if compute_aux_loss:
            raise InputError("model.base: GRPO knows no mixture of experts yet; give a dense Qwen-VL.")
        wanted = ("log_probs", "entropy") if compute_entropy else ("log_probs",)
        prompt_length = input_ids.shape[1] - logits_to_keep
        parts = []
        for start in range(0, len(input_ids), batch_size or len(input_ids)):
            rows = slice(start, start + (batch_size or len(input_ids)))
            shown = _pictures(fields, rows, prompt_length)
            parts.append(
                self._packed(model, input_ids[rows], attention_mask[rows].bool(), prompt_length, shown, wanted)
            )
        found = [torch.cat(values) for values in zip(*parts, strict=True)]
        return found[0], found[1] if compute_entropy else None, None

    def _packed(
        self,
        model: Any,
        ids: torch.Tensor,
        mask: torch.Tensor,
        prompt_length: int,
        shown: Sequence[Mapping[str, torch.Tensor]],
        wanted: Sequence[str],
    ) -> list[torch.Tensor]:
        """The `wanted` fields of TRL's fused head, (rows, completion tokens), from one pass over packed groups."""
        asked, asked_mask = ids[:, :prompt_length], mask[:, :prompt_length]
        said, said_mask = ids[:, prompt_length:], mask[:, prompt_length:]
        shown = shown or [{}] * len(ids)
        groups = _same(list(zip(asked, shown, strict=True)))
        firsts = [group[0] for group in groups]
        prompts = {
            "input_ids": asked[firsts],
            "attention_mask": asked_mask[firsts].long(),
            **{key: torch.cat([shown[row][key] for row in firsts]) for key in shown[0]},
        }
        positions = prompt_positions(self.accelerator.unwrap_model(model), prompts)
        packed = pack(
            [asked[row, asked_mask[row]] for row in firsts],
            [positions[:, number, asked_mask[row]] for number, row in enumerate(firsts)],
            [[said[row, said_mask[row]] for row in group] for group in groups],
        )
        with self.accelerator.autocast():
            reply = model(
                input_ids=packed.input_ids,
                attention_mask=packed.attention_mask,
                position_ids=packed.position_ids,
                **{key: prompts[key] for key in ("pixel_values", "image_grid_thw") if key in prompts},
                shift_labels=packed.labels,
                fused_lm_head=True,
            )
        order = [row for group in groups for row in group]
        return [_in_rows(packed.unpack(getattr(reply, name)), order, said_mask) for name in wanted]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        with pictures_once(self.processing_class):
            return super()._generate_and_score_completions(inputs)

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """As TRL does, but rows are not shuffled: where a step has several batches, groups would be torn apart."""
        trl: Any = self  # TRL's types say less than its attributes hold
        if not trl.model.training:
            return super()._prepare_inputs(generation_batch)
        batches = trl.args.steps_per_generation
        if trl._step % (batches * trl.num_iterations) == 0 or trl._buffered_inputs is None:
            scored: Any = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            parts: list[Any] = split_tensor_dict(scored, batches)
            trl._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in parts]
        return trl._buffered_inputs[trl._step % batches]


@contextmanager
def pictures_once(processor: Any) -> Iterator[None]:
    """While the block runs, a picture that is given many times is read once."""
    stock = processor.image_processor
    processor.image_processor = _PicturesOnce(stock)
    try:
        yield
    finally:
        processor.image_processor = stock


class _PicturesOnce:
    """An image processor in front of another that remembers what it was given."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock
        self._known: dict[Any, Mapping[str, torch.Tensor]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)

    def __call__(self, images: Any, **settings: Any) -> BatchFeature:
        read = [self._read(image, settings) for image in _flat(images)]
        return BatchFeature({key: torch.cat([each[key] for each in read]) for key in read[0]})

    def _read(self, image: Any, settings: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        key = _picture_identity(image)
        if key not in self._known:
            self._known[key] = self._stock(images=[image], **{**settings, "return_tensors": "pt"})
        return self._known[key]


def _flat(images: Any) -> list[Any]:
    return [image for each in images for image in (_flat(each) if isinstance(each, list | tuple) else [each])]


def _picture_identity(image: Any) -> tuple[Any, ...]:
    return image.size, image.mode, hash(image.tobytes())


def _parts(prompt: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [part for turn in prompt if isinstance(turn["content"], list) for part in turn["content"]]


def _identity(prompt: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Equal for prompts of the same words and pictures."""
    said = tuple((turn["role"], turn["content"] if isinstance(turn["content"], str) else None) for turn in prompt)
    shown = (part.get("text") or _picture_identity(part["image"]) for part in _parts(prompt))
    return said, tuple(shown)


def _runs(keys: Sequence[Any]) -> list[list[int]]:
    """Neighbours with equal keys: TRL's sampler puts the rows of a group side by side."""
    return [[number for number, _ in run] for _, run in groupby(enumerate(keys), key=lambda each: each[1])]


def _same(rows: Sequence[tuple[torch.Tensor, Mapping[str, torch.Tensor]]]) -> list[list[int]]:
    """Rows with the same prompt and picture, wherever they stand."""
    groups: list[list[int]] = []
    for number, (ids, picture) in enumerate(rows):
        for group in groups:
            first_ids, first = rows[group[0]]
            if torch.equal(ids, first_ids) and all(torch.equal(picture[key], first[key]) for key in picture):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _in_rows(values: torch.Tensor, order: Sequence[int], mask: torch.Tensor) -> torch.Tensor:
    """Values by packed completion, as wide as the longest of them, in the order and width of the batch."""
    wide = torch.nn.functional.pad(values, (0, mask.shape[1] - values.shape[1]))
    back = torch.empty(len(order), dtype=torch.long, device=values.device)
    back[list(order)] = torch.arange(len(order), device=values.device)
    return wide[back] * mask


def _left_padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return pad([torch.tensor(row) for row in rows], padding_value=0, padding_side="left")


def _pictures(fields: Mapping[str, Any], rows: slice, prompt_length: int) -> list[dict[str, torch.Tensor]]:
    """Each row's own part of the picture fields, which TRL hands over for the whole batch."""
    count = fields.get("num_images")
    if count is None:
        return []
    patches = fields["image_grid_thw"].prod(dim=-1)
    ends = torch.tensor(count).cumsum(0)
    found = []
    for row, end in list(enumerate(ends.tolist()))[rows]:
        images = slice(end - count[row], end)
        first, last = int(patches[: images.start].sum()), int(patches[: images.stop].sum())
        found.append(
            {
                "pixel_values": fields["pixel_values"][first:last],
                "image_grid_thw": fields["image_grid_thw"][images],
                "mm_token_type_ids": fields["mm_token_type_ids"][row : row + 1, :prompt_length],
            }
        )
    return found
