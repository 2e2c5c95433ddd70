"""A GRPO step (rollout, rewards, update): the work of a group done once, against TRL's trainer as it comes.

The paper's ratio of prompt to completion, about 3 to 1: 300 tokens, most of them the picture's, and 100.
"""

from __future__ import annotations

import importlib.resources
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.evaluation import scenes
from benchmarks.pairs import Pair

GOAL = 2.5
GROUP_SIZE = 8
PROMPTS = 4
COMPLETION_TOKENS = 100
SIDE = 448
"""Of a square picture, in pixels: 256 tokens."""


def pair() -> Pair:
    """One step of each trainer on the shipped base, the same prompts, and completions of one length."""
    from trl import GRPOTrainer

    from deepperception.grpo.trainer import GroupTrainer

    ours, peer = _Stepper(GroupTrainer), _Stepper(GRPOTrainer)
    return Pair("grpo_step_vs_trl", ours.step, peer.step, GOAL, check=lambda: same_update(ours.trainer))


class _Stepper:
    """A trainer that is made to take one step at a time."""

    def __init__(self, kind: Any) -> None:
        import torch
        from trl import GRPOConfig

        from deepperception.inference.loading import load_model
        from deepperception.inference.processor import load_processor
        from deepperception.inference.transformers_engine import PLACEHOLDERS

        folder = Path(str(importlib.resources.files("deepperception.bestiary") / "base"))
        processor = load_processor(folder, max_pixels=SIDE * SIDE)
        never = [*PLACEHOLDERS, "<|im_end|>", "<|endoftext|>"]  # no completion ends early: both ways draw as much
        self._scratch = tempfile.TemporaryDirectory()
        self.trainer: Any = kind(
            model=load_model(folder, dtype=torch.float32),
            processing_class=processor,
            reward_funcs=[_length],
            train_dataset=_rows(),
            args=GRPOConfig(
                output_dir=self._scratch.name,
                per_device_train_batch_size=PROMPTS * GROUP_SIZE,
                num_generations=GROUP_SIZE,
                max_completion_length=COMPLETION_TOKENS,
                beta=0.0,
                seed=0,
                use_cpu=not torch.cuda.is_available(),
                bf16=False,
                disable_tqdm=True,
                report_to="none",
                save_strategy="no",
                generation_kwargs={"suppress_tokens": processor.tokenizer.convert_tokens_to_ids(never)},
            ),
        )
        self.trainer.current_gradient_accumulation_steps = 1
        self.optimizer = torch.optim.AdamW(self.trainer.model.parameters(), lr=1e-6)
        self.batch = [row for row in self.trainer.train_dataset for _ in range(GROUP_SIZE)]

    def step(self) -> int:
        """Draw, score, update; gives the number of tokens that were learned from."""
        self.trainer.model.train()
        self.trainer.training_step(self.trainer.model, self.batch, None)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return int(self.trainer._buffered_inputs[0]["completion_mask"].sum())


def _length(completions: list[Any], **_: Any) -> list[float]:
    return [float(len(each[0]["content"]) % 7) for each in completions]


def _rows() -> Any:
    import io

    from PIL import Image

    from deepperception.training.rows import to_dataset

    rows = []
    for number, request in enumerate(scenes(PROMPTS)):
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(request.image)) as picture:
            picture.resize((SIDE, SIDE)).save(buffer, "PNG")
        rows.append(
            {"image": buffer.getvalue(), "prompt": [{"role": "user", "content": request.text + " red" * number}]}
        )
    return to_dataset(rows)


def same_update(trainer: Any) -> bool:
    """Whether the packed way gives the loss and the gradient of TRL's own, to 1e-4, on one batch."""
    import torch
    from trl import GRPOTrainer

    trainer.model.train()
    batch = trainer._generate_and_score_completions([row for row in trainer.train_dataset for _ in range(GROUP_SIZE)])
    found = []
    for way in (type(trainer), GRPOTrainer):
        trainer._get_per_token_logps_and_entropies = way._get_per_token_logps_and_entropies.__get__(trainer)
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        gradient = torch.cat([each.grad.flatten() for each in trainer.model.parameters() if each.grad is not None])
        found.append((loss.item(), gradient))
    del trainer._get_per_token_logps_and_entropies
    trainer.model.zero_grad()
    (loss, gradient), (plain_loss, plain_gradient) = found
    return (
        abs(loss - plain_loss) <= 1e-4 * abs(plain_loss) + 1e-7
        and float((gradient - plain_gradient).norm() / plain_gradient.norm()) <= 1e-4
    )
