"""Log-probabilities of given replies, on a random tiny model."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the train extra")

import torch

from deepperception.artifacts.datasets import read_rows
from deepperception.evaluation.divergence import divergence
from deepperception.grounding import render
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.teacher_forcing import TeacherForcing
from deepperception.inference.transformers_engine import TransformersEngine
from deepperception.progress import Progress

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def test_each_token_is_judged_by_what_came_before_it(random_checkpoint: Path, creature_rows: Path) -> None:
    sample = next(iter(read_rows(creature_rows / "rl.parquet")))
    request = Request(render("bare", sample.question), sample.image)
    model = TeacherForcing(random_checkpoint, max_pixels=12_544)
    reply = model.reply(request, 6)
    spoken = next(iter(TransformersEngine(random_checkpoint, max_pixels=12_544).generate([request], Decoding(6))))[0]
    assert model.processor.tokenizer.decode(reply.ids, skip_special_tokens=True) == spoken, "the engine's own reply"
    scores = model.log_probabilities(request, reply).clone()
    assert scores.shape[0] == len(reply.ids)
    assert torch.allclose(scores.exp().sum(dim=-1), torch.ones(len(reply.ids)), atol=1e-4)
    suppressed = model.processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    scores[:, suppressed] = -torch.inf
    assert scores.argmax(dim=-1).tolist() == list(reply.ids), "greedy decoding took the likeliest token each time"


def test_a_model_does_not_diverge_from_itself_and_another_one_does(
    random_checkpoint: Path, creature_rows: Path
) -> None:
    samples = list(read_rows(creature_rows / "rl.parquet"))[:2]
    later, before = (TeacherForcing(random_checkpoint, max_pixels=12_544) for _ in range(2))
    told = {"max_new_tokens": 5, "total": 2, "progress": Progress("t", io.StringIO())}
    same = divergence(later, before, samples, "bare", **told)["parts"]["answer"]
    assert same["tokens"] > 0
    assert same["exact"]["mean"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for weight in before.model.parameters():
            weight.mul_(1.05)
    moved = divergence(later, before, samples, "bare", **told)["parts"]["answer"]
    assert moved["exact"]["mean"] > 1e-6
    assert moved["k3"]["mean"] >= 0
