"""The work that a group shares is done once, and nothing else changes: against TRL's and transformers' own ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the train extra")

import torch
from services.tiny_families import build
from trl import GRPOConfig, GRPOTrainer

from deepperception.grounding import render
from deepperception.grpo.trainer import GroupTrainer, pictures_once
from deepperception.inference.images import open_image
from deepperception.inference.loading import load_model
from deepperception.inference.shared_prefix import Sampling, sample_groups
from deepperception.inference.transformers_engine import PLACEHOLDERS
from deepperception.training.rows import read_samples, to_dataset

GROUP = 4
FAMILIES = ("qwen2_vl", "qwen3_vl")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def trainer_of(family: str, data: Path, scratch: Path, kind: type[GRPOTrainer] = GroupTrainer, **more: Any) -> Any:
    model, processor = build(family)
    model.save_pretrained(scratch / "start")  # TRL loads the reference model from where the policy came from
    model = load_model(scratch / "start", dtype=torch.float32)
    rows = [
        {
            "image": sample.image,
            "prompt": [{"role": "user", "content": render("r1", sample.question) + " red" * number}],
        }
        for number, sample in enumerate(read_samples(data / "rl.parquet"))
    ]
    settings = {
        "per_device_train_batch_size": 3 * GROUP,
        "num_generations": GROUP,
        "max_completion_length": 12,
        "beta": 0.04,
        "seed": 1,
        **more,
    }
    suppressed = processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS))
    return kind(
        model=model,
        processing_class=processor,
        reward_funcs=[lambda completions, **_: [float(len(each[0]["content"]) % 3) for each in completions]],
        args=GRPOConfig(
            output_dir=str(scratch),
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            generation_kwargs={"suppress_tokens": suppressed},
            **settings,
        ),
        train_dataset=to_dataset(rows),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_trls_own_way(family: str, creature_rows: Path, tmp_path: Path) -> None:
    trainer = trainer_of(family, creature_rows, tmp_path)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.eos_token_ids = list(range(60))  # an untrained model seldom comes to an end by itself
    batch = trainer._generate_and_score_completions([trainer.train_dataset[n] for n in (0, 1, 2) for _ in range(GROUP)])
    lengths = batch["completion_mask"].sum(1)
    assert lengths.min() < lengths.max(), "completions of one length would not show what padding does"
    assert batch["prompt_mask"].min() == 0, "prompts of one length would not show what padding does"
    shuffled = torch.randperm(3 * GROUP).tolist()
    batch = reordered(batch, shuffled)

    packed = loss_and_gradients(trainer, batch)
    trainer._get_per_token_logps_and_entropies = GRPOTrainer._get_per_token_logps_and_entropies.__get__(trainer)
    plain = loss_and_gradients(trainer, batch)
    assert packed[0] == pytest.approx(plain[0], rel=1e-4)
    assert packed[1].keys() == plain[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in plain[1].values())
    for name, gradient in plain[1].items():
        assert torch.allclose(packed[1][name], gradient, rtol=1e-4, atol=1e-5 * largest), name


def reordered(batch: dict[str, Any], order: list[int]) -> dict[str, Any]:
    """As TRL shuffles: every row with its picture."""
    from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

    rows = split_pixel_values_by_grid(batch)
    picked = {
        key: value
        if not isinstance(value, torch.Tensor | list) or (torch.is_tensor(value) and value.dim() == 0)
        else value[order]
        if torch.is_tensor(value)
        else [value[n] for n in order]
        for key, value in rows.items()
    }
    return unsplit_pixel_values_by_grid(picked)


def loss_and_gradients(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    found = {name: each.grad.clone() for name, each in trainer.model.named_parameters() if each.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_likeliest_completions_are_those_of_generate(family: str, creature_rows: Path) -> None:
    model, processor = build(family)
    model.eval()
    samples = read_samples(creature_rows / "rl.parquet")[:5]
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "name" + " red" * number}]}],
            add_generation_prompt=True,
        )
        for number in range(len(samples))
    ]
    pictures = [[open_image(sample.image)] for sample in samples]
    inputs = processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    suppress = processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS))
    # Ends that are met early and often: rows stop at different steps, and whole groups leave the cache.
    ends = likely_ends(model, inputs, suppress)
    sampling = Sampling(16, tuple(ends), tuple(suppress), temperature=1e-5)
    groups = sample_groups(model, inputs, 3, sampling)
    plain = model.generate(
        **inputs, max_new_tokens=16, do_sample=False, suppress_tokens=suppress, eos_token_id=ends, pad_token_id=0
    )[:, inputs["input_ids"].shape[1] :].tolist()
    expected = [cut(row, ends) for row in plain]
    assert len({len(row) for row in expected}) > 1
    assert groups == [[row] * 3 for row in expected]


def likely_ends(model: Any, inputs: Any, suppress: list[int]) -> list[int]:
    free = model.generate(**inputs, max_new_tokens=16, do_sample=False, suppress_tokens=suppress, eos_token_id=0)
    said = free[:, inputs["input_ids"].shape[1] :].tolist()
    late = [token for row in said for place, token in enumerate(row) if 3 <= place == row.index(token)]
    return sorted(set(late[:3]))


def cut(row: list[int], ends: list[int]) -> list[int]:
    stop = next((place for place, token in enumerate(row) if token in ends), len(row))
    return row[: stop + 1]


def test_completions_are_drawn_with_the_models_own_probabilities(creature_rows: Path) -> None:
    model, processor = build("qwen2_vl")
    model.eval()
    sample = read_samples(creature_rows / "rl.parquet")[0]
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "name"}]}], add_generation_prompt=True
    )
    inputs = processor(text=[text], images=[[open_image(sample.image)]], return_tensors="pt")
    torch.manual_seed(0)
    draws = 4000
    [group] = sample_groups(model, inputs, draws, Sampling(1, ends=(), temperature=0.7))
    with torch.no_grad():
        expected = (model(**inputs).logits[0, -1] / 0.7).softmax(-1)
    counts = torch.bincount(torch.tensor(group).flatten(), minlength=len(expected)) / draws
    error = (expected * (1 - expected) / draws).sqrt()
    assert ((counts - expected).abs() <= 4.5 * error + 1e-3).all()


def test_several_batches_a_step_learn_what_one_batch_learns(creature_rows: Path, tmp_path: Path) -> None:
    found = []
    for batches in (1, 3):
        trainer = trainer_of(
            "qwen2_vl",
            creature_rows,
            tmp_path,
            per_device_train_batch_size=3 * GROUP // batches,
            gradient_accumulation_steps=batches,
            max_steps=2,
            learning_rate=1e-3,
            beta=0.0,
            max_grad_norm=0.0,
        )
        trainer.train()
        found.append({name: each.detach().clone() for name, each in trainer.model.named_parameters()})
    for name, weights in found[0].items():
        assert torch.allclose(weights, found[1][name], atol=2e-4), name


def test_a_picture_given_many_times_is_read_once(creature_rows: Path) -> None:
    _, processor = build("qwen2_vl")
    first, second = (open_image(sample.image) for sample in read_samples(creature_rows / "rl.parquet")[:2])
    images = [[first], [first.copy()], [second], [first]]
    texts = ["<|vision_start|><|image_pad|><|vision_end|>"] * 4
    stock = processor.image_processor
    plain = processor(text=texts, images=images, padding=True, return_tensors="pt")
    with pictures_once(processor):
        once = processor(text=texts, images=images, padding=True, return_tensors="pt")
        assert len(processor.image_processor._known) == 2
    assert processor.image_processor is stock
    assert once.keys() == plain.keys()
    assert all(torch.equal(once[key], plain[key]) for key in plain)
