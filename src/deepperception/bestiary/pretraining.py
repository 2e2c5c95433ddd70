"""Makes the base checkpoint: vision read off its own tokens, then text, then both together.

    python -m deepperception.bestiary.pretraining --out FOLDER

The order follows what is learned easily: a probe on every picture token teaches the vision tower looks and boxes long
before the language model could ask for them; facts and matching are learned in text; then all lessons together, first
on remembered features, at last with the vision tower learning too.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from deepperception.bestiary import tiny
from deepperception.bestiary.corpus import LESSONS, Lesson
from deepperception.bestiary.pool import ScenePool
from deepperception.bestiary.scenes import Scene, draw_scene
from deepperception.bestiary.world import COLOURS, COORDINATE_STEP, HORNS, SKINS
from deepperception.grounding import parse
from deepperception.inference.loading import load_model

EVIDENCE = "pretraining.json"
BATCH = 64
PICTURE_TOKENS_A_SIDE = 4
TEXT_MIX = {"fact": 0.25, "compare_drill": 0.4, "match_drill": 0.35}
FULL_MIX = {
    "fact": 0.04,
    "fact_in_view": 0.12,
    "compare_drill": 0.08,
    "match_drill": 0.1,
    "describe_all": 0.12,
    "describe_one": 0.12,
    "look_for": 0.32,
    "ground": 0.1,
}
_IGNORED = -100
# Colour, skin, horns, corners. Horns are the smallest thing to see and would be learned last.
_PROBE_WEIGHTS = torch.tensor([1.0, 1.0, 4.0, 0.5, 0.5, 0.5, 0.5])
_LOOKS = (list(COLOURS), list(SKINS), list(HORNS))


@dataclass(frozen=True)
class Plan:
    """Steps of each part, and the number of scenes that all of them draw from."""

    scenes: int = 12_000
    vision_steps: int = 1_800
    text_steps: int = 400
    full_steps: int = 2_200
    joint_steps: int = 200
    learning_rate: float = 1e-3
    seed: int = 0


class Pretraining:
    """The model under training, and what it looks at."""

    def __init__(self, plan: Plan, out: Path, start: Path | None = None) -> None:
        self.started = time.monotonic()
        torch.manual_seed(plan.seed)
        self.plan, self.out = plan, out
        self.rng = random.Random(plan.seed)
        self.processor = tiny.build_processor()
        self.tokenizer = self.processor.tokenizer
        token_id = self.tokenizer.convert_tokens_to_ids
        self.model = load_model(start) if start else tiny.build_tiny_model(len(self.tokenizer), token_id)
        self.before = json.loads((start / EVIDENCE).read_text(encoding="utf-8")) if start else None
        self.image_token = token_id("<|image_pad|>")
        self.pool = ScenePool(plan.scenes, self.rng, self.processor.image_processor)
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.say(f"{plan.scenes} scenes drawn, {parameters:,} parameters")

    def run(self) -> None:
        """All parts, and the checkpoint with its evidence at the end."""
        if self.plan.vision_steps:
            self.learn_vision()
        self.learn_lessons("text", TEXT_MIX, self.plan.text_steps)
        self.pool.remember_features(self.model)
        self.learn_lessons("full", FULL_MIX, self.plan.full_steps)
        self.pool.forget_features(self.model)
        self.learn_lessons("joint", FULL_MIX, self.plan.joint_steps, learning_rate=self.plan.learning_rate / 5)
        self.save(self.out)

    def learn_vision(self) -> None:
        """Every picture token tells look and box of the creature of its quadrant, through linear probes."""
        coordinates = 1000 // COORDINATE_STEP + 1
        widths = [*(len(values) for values in _LOOKS), *[coordinates] * 4]
        probe = torch.nn.Linear(128, sum(widths))
        vision = self.model.model.visual
        # The stock patch embedding, a Conv3d whose stride is its kernel, is a linear layer: as such it runs backwards
        # several times faster on a CPU.
        embed = vision.patch_embed
        embed.forward = lambda pixels: functional.linear(pixels, embed.proj.weight.flatten(1))
        for step, optimizer in self.steps([vision, probe], self.plan.vision_steps, self.plan.learning_rate):
            scenes = self.rng.sample(self.pool.scenes, BATCH)
            pixels, grids = self.pool.pixels(scenes)
            parts = probe(vision(pixels, grid_thw=grids).pooler_output).split(widths, dim=-1)
            targets = torch.tensor([quadrant_targets(scene) for scene in scenes]).flatten(0, 1)
            losses = [
                functional.cross_entropy(part, targets[:, index], ignore_index=_IGNORED)
                for index, part in enumerate(parts)
            ]
            (torch.stack(losses) * _PROBE_WEIGHTS).sum().backward()
            optimizer.step()
            if step % 100 == 0:
                known = targets[:, 0] >= 0
                right = [(part.argmax(-1) == targets[:, i])[known].float().mean() for i, part in enumerate(parts)]
                self.say(f"vision {step}: right " + " ".join(f"{share:.2f}" for share in right))

    def learn_lessons(
        self, label: str, mix: dict[str, float], steps: int, *, learning_rate: float | None = None
    ) -> None:
        """Next-token loss on the replies of a mixture of lessons."""
        recent: dict[str, list[float]] = {name: [] for name in mix}
        for step, optimizer in self.steps([self.model], steps, learning_rate or self.plan.learning_rate):
            kinds = self.rng.choices(list(mix), list(mix.values()), k=BATCH)
            loss, by_row = self.loss([LESSONS[kind](self.rng, self.pool.scenes) for kind in kinds])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            for kind, value in zip(kinds, by_row, strict=True):
                recent[kind].append(value)
            if step % 100 == 0:
                self.say(f"{label} {step}: " + " ".join(f"{name} {np.mean(v):.3f}" for name, v in recent.items() if v))
                recent = {name: [] for name in mix}
            if step % 500 == 0 and label == "full":
                self.save(self.out.with_name(f"{self.out.name}-{step}"), cases=100, full_steps_done=step)

    def loss(self, lessons: list[Lesson]) -> tuple[torch.Tensor, list[float]]:
        """Mean loss over the tokens of the replies, and each row's own mean."""
        inputs, reply_lengths = self.encode(lessons, with_replies=True)
        # Rows are padded on the left, so a reply is the end of its row; all before it carries no loss.
        width = inputs["input_ids"].shape[1]
        before_reply = torch.arange(width)[None] < width - torch.tensor(reply_lengths)[:, None]
        labels = inputs["input_ids"].masked_fill(before_reply, _IGNORED)
        kept = max(reply_lengths) + 1
        logits = self.model(**inputs, logits_to_keep=kept).logits[:, :-1]
        losses = functional.cross_entropy(
            logits.transpose(1, 2), labels[:, width - kept + 1 :], ignore_index=_IGNORED, reduction="none"
        ).sum(1)
        lengths = torch.tensor(reply_lengths)
        return losses.sum() / lengths.sum(), (losses.detach() / lengths).tolist()

    def encode(self, lessons: list[Lesson], *, with_replies: bool) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Model inputs of a batch, padded on the left, and the length of each reply in tokens."""
        rows, reply_lengths = [], []
        placeholder = "<|vision_start|>" + "<|image_pad|>" * PICTURE_TOKENS_A_SIDE**2 + "<|vision_end|>"
        for lesson in lessons:
            turn = f"{placeholder if lesson.scene else ''}{lesson.prompt}"
            prompt = self.tokenizer(f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n").input_ids
            reply = self.tokenizer(f"{lesson.reply}<|im_end|>").input_ids if with_replies else []
            rows.append(prompt + reply)
            reply_lengths.append(len(reply))
        inputs = dict(self.tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt"))
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.image_token).int()
        if scenes := [lesson.scene for lesson in lessons if lesson.scene]:
            inputs["pixel_values"], inputs["image_grid_thw"] = self.pool.pixels(scenes)
        return inputs, reply_lengths

    def steps(
        self, modules: list[torch.nn.Module], steps: int, learning_rate: float
    ) -> Iterator[tuple[int, torch.optim.Optimizer]]:
        """Optimizer steps under a warm-up and a cosine; the caller does the backward pass and the step."""
        parameters = [parameter for module in modules for parameter in module.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, total_steps=steps + 1, pct_start=0.05, cycle_momentum=False, final_div_factor=5
        )
        for step in range(1, steps + 1):
            optimizer.zero_grad(set_to_none=True)
            yield step, optimizer
            schedule.step()

    @torch.no_grad()
    def scores(self, cases: int) -> dict[str, float]:
        """Greedy accuracy by lesson on fresh scenes: exact replies, and boxes at IoU 0.5 where a reply ends in one."""
        rng = random.Random(12_345)
        scenes = [draw_scene(rng) for _ in range(cases)]
        told: dict[str, float] = {}
        for kind, make in LESSONS.items():
            lessons = [make(rng, [scene]) for scene in scenes]
            inputs, _ = self.encode(lessons, with_replies=False)
            output = self.model.generate(**inputs, max_new_tokens=80, do_sample=False)
            replies = self.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            ids = [self.tokenizer(lesson.reply).input_ids for lesson in lessons]
            wanted = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            pairs = list(zip(replies, wanted, strict=True))
            told[kind] = float(np.mean([reply == want for reply, want in pairs]))
            if kind in ("look_for", "ground", "match_drill"):
                boxes = [(parse(reply).box, parse(want).box) for reply, want in pairs]
                told[f"{kind}_iou50"] = float(np.mean([bool(a and b and a.iou(b) >= 0.5) for a, b in boxes]))
        return {name: round(value, 3) for name, value in told.items()}

    def save(self, folder: Path, *, cases: int = 400, full_steps_done: int | None = None) -> None:
        """The checkpoint, with the plan and the scores that it reached beside it."""
        scores = self.scores(cases)
        self.say(f"{folder.name}: {scores}")
        tiny.save(self.model, self.processor, folder)
        seconds = round(time.monotonic() - self.started)
        evidence = {
            "plan": asdict(self.plan),
            "full_steps_done": full_steps_done or self.plan.full_steps,
            "scores": scores,
            "seconds": seconds,
            "started_from": self.before,
        }
        (folder / EVIDENCE).write_text(json.dumps(evidence, indent=2) + "\n", encoding="utf-8")

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self.started:6.0f} s  {line}", flush=True)


def quadrant_targets(scene: Scene) -> list[list[int]]:
    """For each of the 16 picture tokens: colour, skin, horns and corners of its quadrant's creature, or ignored."""
    by_quadrant: dict[int, list[int]] = {}
    for creature in scene.creatures:
        words = (creature.looks.colour, creature.looks.skin, creature.looks.horns)
        looks = [values.index(word) for values, word in zip(_LOOKS, words, strict=True)]
        by_quadrant[creature.quadrant] = looks + [round(value / COORDINATE_STEP) for value in creature.box.as_tuple()]
    nothing = [_IGNORED] * (len(_LOOKS) + 4)
    cells = range(PICTURE_TOKENS_A_SIDE)
    return [by_quadrant.get(row // 2 * 2 + column // 2, nothing) for row in cells for column in cells]


def main() -> None:
    """Reads the plan from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint of an earlier part to go on from")
    for name, default in asdict(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    arguments = vars(parser.parse_args())
    out, start = arguments.pop("out"), arguments.pop("start")
    Pretraining(Plan(**arguments), out, start).run()


if __name__ == "__main__":
    main()
