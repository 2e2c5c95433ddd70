"""A made-up benchmark, made-up models that are right as often as they are told to be, and their evaluations."""

import io
import json
import random
import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from deepperception.artifacts import seal
from deepperception.artifacts.checkpoints import Interface, write_interface
from deepperception.artifacts.datasets import read_rows, write_rows
from deepperception.artifacts.stage import Context
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.run import evaluate_model
from deepperception.grounding import Box, Object, Sample, Source, answer_text, completion, question
from deepperception.progress import Progress

SIDE, CELL = 112, 56
SEEN, UNSEEN = ("blobs", "worms", "fish"), ("stars", "hounds", "snails")
COLOURS = {"Tavel": "#d1495b", "Mirop": "#2e86ab", "Dankin": "#3aa66d", "Vudar": "#edae49", "Zilar": "#8e5ea2"}


def make_sample(number: int, category: str) -> Sample:
    """Four ellipses of different names and colours, one a quadrant; the first of them is asked for."""
    rng = random.Random(f"{category}/{number}")
    picture = Image.new("RGB", (SIDE, SIDE), (200, 204, 198))
    draw = ImageDraw.Draw(picture)
    objects = []
    for cell, name in enumerate(rng.sample(sorted(COLOURS), 4)):
        left, top = cell % 2 * CELL + rng.randint(3, 14), cell // 2 * CELL + rng.randint(3, 14)
        right, bottom = left + rng.randint(26, 38), top + rng.randint(26, 38)
        draw.ellipse((left, top, right, bottom), fill=COLOURS[name], outline="#33333a")
        draw.ellipse((left + 8, top + 8, left + 12, top + 12), fill="white")
        objects.append(
            Object(name, Box.from_pixels(left, top, right + 1, bottom + 1, width=SIDE, height=SIDE).rounded())
        )
    rng.shuffle(objects)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Sample(
        question_id=f"{category}/{number}",
        category=category,
        question=question(objects[0].entity),
        answer=answer_text(objects[0].entity, objects[0].box),
        image=buffer.getvalue(),
        entity=objects[0].entity,
        objects=tuple(objects),
        sources=(Source(f"{category}-{number}.png", "CC0-1.0"),),
        split="test",
        seen=category in SEEN,
    )


def make_benchmark(path: Path, each: int) -> Path:
    write_rows(path, (make_sample(number, category) for category in SEEN + UNSEEN for number in range(each)))
    return path


class MadeUpModel:
    """Opened like an engine. Right in a share of the cases, else it boxes a look-alike, misses, or says nothing."""

    def __init__(self, benchmark: Path, *, seen: float, unseen: float, thinks: bool = True) -> None:
        self.samples = {(sample.image, sample.entity): sample for sample in read_rows(benchmark)}
        self.shares = {True: seen, False: unseen}
        self.thinks = thinks
        self.calls: list[int] = []
        """How many requests came in each call."""
        self.decodings: set = set()
        self.texts: list[str] = []
        self.opened_with: dict = {}
        self.backend = {"engine": "made-up", "version": "1.0", "dtype": "float32"}

    def __call__(self, folder, *, max_pixels, batch_size):
        self.opened_with = {"folder": folder, "max_pixels": max_pixels, "batch_size": batch_size}
        return self

    def generate(self, requests, decoding):
        self.calls.append(0)
        call = len(self.calls) - 1
        self.decodings.add(decoding)
        for request in requests:
            self.calls[call] += 1
            self.texts.append(request.text)
            entity = re.search(r"object_ref_start\|>(.*?)<\|object_ref_end", request.text)[1]
            yield [self.reply(self.samples[request.image, entity])]

    def reply(self, sample: Sample) -> str:
        rng = random.Random(f"{sample.question_id} {self.shares}")
        box = sample.target
        if rng.random() >= self.shares[sample.seen]:
            kind = rng.choice(("look-alike", "look-alike", "miss", "silence"))
            if kind == "silence":
                return "<think>None of them has the stripes that I remember.</think> There is no such creature."
            box = sample.objects[1].box if kind == "look-alike" else Box(400, 400, 640, 620)
        plain = re.sub(r"<\|.*?\|>", "", answer_text(sample.entity, box))
        if not self.thinks:
            return plain
        told = "; ".join(f"at {thing.box.text()} one that is {COLOURS[thing.entity]}" for thing in sample.objects)
        return completion(
            plain,
            f"A {sample.entity} is {COLOURS[sample.entity]} with a white eye. I see {told}. It is at {box.text()}.",
        )


def make_checkpoint(folder: Path, prompt: str = "r1") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    write_interface(folder, Interface(prompt=prompt, max_pixels=12_544, max_new_tokens=77))
    return folder


def make_context(log: io.StringIO | None = None) -> Context:
    return Context(
        seed=0, progress=Progress("test", log or io.StringIO()), recipe_hash="sha256:0", inputs={"data": "x"}
    )


ARMS = {
    "Base": {"seen": 0.30, "unseen": 0.28, "thinks": False},
    "Direct SFT": {"seen": 0.42, "unseen": 0.31, "thinks": False},
    "CoT-SFT": {"seen": 0.80, "unseen": 0.60},
    "GRPO": {"seen": 0.84, "unseen": 0.68},
}


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("benchmark") / "test.parquet", each=8)


@pytest.fixture(scope="session")
def evaluations(tmp_path_factory, benchmark) -> dict[str, Path]:
    """Model label -> evaluation folder; each beside `model`, a sealed checkpoint with curves where it was trained."""
    folder = tmp_path_factory.mktemp("run")
    return {label: evaluated(folder / label, benchmark, label) for label in ARMS}


def evaluated(folder: Path, benchmark: Path, label: str) -> Path:
    model = make_checkpoint(folder / "model", prompt="r1" if ARMS[label].get("thinks", True) else "bare")
    (model / "name").write_text(label)
    counts = {}
    if label != "Base":
        counts = {"steps": 60, "rows": 3000}
        write_curves(model, label)
    seal(model, kind="model", inputs={}, recipe_hash="sha256:0", seed=0, counts=counts)
    engine = MadeUpModel(benchmark, **ARMS[label])
    evaluate_model(EvaluationConfig(), benchmark, model, folder / "evaluation", make_context(), open_engine=engine)
    return folder / "evaluation"


def write_curves(model: Path, label: str) -> None:
    rng = random.Random(label)
    (model / "evidence").mkdir()
    points = []
    for step in range(1, 61):
        point = {"step": step, "loss": rng.uniform(1.8, 2.4) / (1 + step / 8) + rng.uniform(-0.08, 0.08)}
        if label == "GRPO":
            point |= {
                "loss": rng.uniform(-0.01, 0.01),
                "rewards/iou/mean": 0.45 + step / 240 + rng.uniform(-0.08, 0.08),
            }
            point |= {"rewards/format/mean": min(1.0, 0.9 + step / 300)}
            point |= {"reward": point["rewards/iou/mean"] + point["rewards/format/mean"]}
        points.append(point)
    (model / "evidence" / "curves.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
