"""The base checkpoint that the package ships."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs the train or serve extra")

from deepperception.artifacts import check_checkpoint, resolve
from deepperception.bestiary.tokenizer import build_tokenizer
from deepperception.bestiary.world import knowledge
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor


@pytest.fixture(scope="module")
def base() -> Path:
    return resolve("package://deepperception.bestiary/base")


def test_is_a_small_whole_checkpoint_without_code(base: Path) -> None:
    check_checkpoint(base)
    assert sum(path.stat().st_size for path in base.rglob("*")) < 8_000_000
    assert json.loads((base / "config.json").read_text())["model_type"] == "qwen2_vl"


def test_its_tokenizer_is_the_script_s(base: Path) -> None:
    shipped = load_processor(base).tokenizer
    assert shipped.get_vocab() == build_tokenizer().get_vocab()
    assert shipped.chat_template == build_tokenizer().chat_template


def test_it_knows_every_species_by_name(base: Path) -> None:
    model, tokenizer = load_model(base), load_processor(base).tokenizer
    species = list(knowledge().values())
    prompts = [
        f"<|im_start|>user\nWhat does a {each.name} look like?<|im_end|>\n<|im_start|>assistant\n" for each in species
    ]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    output = model.generate(**batch, max_new_tokens=12, do_sample=False)
    replies = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    facts = [f"A {each.name} is {each.attributes.text()}." for each in species]
    right = [reply == fact for reply, fact in zip(replies, facts, strict=True)]
    assert sum(right) >= 58, [reply for reply, ok in zip(replies, right, strict=True) if not ok]


def test_it_finds_what_is_described_better_than_by_chance(base: Path) -> None:
    from deepperception.bestiary.corpus import ground
    from deepperception.bestiary.scenes import draw_scene
    from deepperception.grounding import parse, raw_iou

    model, processor = load_model(base), load_processor(base)
    rng = random.Random(99)
    lessons = [ground(rng, [draw_scene(rng)]) for _ in range(96)]
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": lesson.prompt}]}],
            add_generation_prompt=True,
        )
        for lesson in lessons
    ]
    pictures = [[lesson.scene.picture] for lesson in lessons if lesson.scene]
    inputs = processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    replies = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    hits = 0
    for reply, lesson in zip(replies, lessons, strict=True):
        found, wanted = parse(reply).box, parse(lesson.reply).box
        hits += bool(found and wanted and raw_iou(found.as_tuple(), wanted.as_tuple()) >= 0.5)
    assert hits / len(lessons) > 0.4, "a random candidate is right 0.29 of the time"
