"""The difficulty filter: a group whose completions are all right or all wrong has no gradient to give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deepperception.errors import InputError
from deepperception.grounding import render
from deepperception.grpo.config import DifficultyConfig
from deepperception.grpo.tasks import task_of
from deepperception.inference.engine import Decoding, Engine, Request
from deepperception.progress import Progress
from deepperception.training import distribution
from deepperception.training.questions import Row


def keep_learnable(
    samples: Sequence[Row],
    engine: Engine,
    config: DifficultyConfig,
    *,
    max_new_tokens: int,
    seed: int,
    progress: Progress,
) -> tuple[list[Row], dict[str, int]]:
    """The samples that the policy gets right sometimes, and how many of them had how many right completions.

    Paper (v3), stage 2: four stochastic completions each; those with none or all right are dropped. Several processes
    ask for a share each, and all get the whole answer.
    InputError where fewer than `min_kept` are left.
    """
    first, many = distribution.rank(), distribution.processes()
    decoding = Decoding(max_new_tokens, config.temperature, config.samples, seed * many + first)
    shares = distribution.from_all(_right_counts(samples[first::many], engine, config, decoding, progress))
    rights = [shares[number % many][number // many] for number in range(len(samples))]
    tally = Counter(rights)
    kept = [each for each, right in zip(samples, rights, strict=True) if _is_learnable(right, config)]
    counts = {f"right_{right}_of_{config.samples}": tally[right] for right in range(config.samples + 1)}
    if len(kept) < config.min_kept:
        told = ", ".join(f"{count} with {right} right" for right, count in sorted(tally.items()))
        raise InputError(
            f"grpo.difficulty: {len(kept)} of {len(samples)} prompts are left to learn from ({told}), fewer than "
            f"min_kept {config.min_kept}; synthesize more rl rows, or set grpo.difficulty to null to use all."
        )
    return kept, counts


def _right_counts(
    samples: Sequence[Row], engine: Engine, config: DifficultyConfig, decoding: Decoding, progress: Progress
) -> list[int]:
    """How many completions are right, of each sample."""
    if not samples:
        return []
    task, prompt = task_of(samples)
    requests = [Request(render(prompt, sample.question), sample.image, sample.question_id) for sample in samples]
    rights: list[int] = []
    kept = 0
    with progress.track(len(samples), "difficulty") as bar:
        for sample, texts in zip(samples, engine.generate(requests, decoding), strict=True):
            right = sum(task.is_right(sample, text, config.right_iou) for text in texts)
            rights.append(right)
            kept += _is_learnable(right, config)
            bar.advance(1, note=f"kept {kept}")
    return rights


def _is_learnable(right: int, config: DifficultyConfig) -> bool:
    return config.min_right <= right <= config.max_right
