"""Rows that leave a batch when they have ended change no other row."""

from __future__ import annotations

import importlib.resources
import io
import random
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the train or serve extra")

import torch

from deepperception.bestiary.scenes import draw_scene
from deepperception.grounding import question, render
from deepperception.inference.chat import prompt
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import open_image
from deepperception.inference.transformers_engine import PLACEHOLDERS, TransformersEngine


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    """The shipped base: it has learned to end its replies, and ends them after 0 to 50 tokens."""
    folder = Path(str(importlib.resources.files("deepperception.bestiary") / "base"))
    return TransformersEngine(folder, max_pixels=112 * 112, batch_size=6)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Pictures of different sizes under texts of different lengths: most rows of a batch are padded on the left."""
    made = []
    for number in range(20):
        picture = draw_scene(random.Random(number)).picture
        assert picture is not None
        picture = picture.resize((56 + 14 * (number % 5), 112 - 14 * (number % 3)), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        text = render("r1" if number % 2 else "bare", question(f"Thing {number}")) + " please" * (number % 4)
        made.append(Request(text, buffer.getvalue(), seed=number))
    return made


def alone(engine: TransformersEngine, request: Request, new_tokens: int) -> str:
    """By transformers' own loop, without a row beside it."""
    inputs = engine.processor(
        text=[prompt(engine.processor, request)], images=[open_image(request.image)], return_tensors="pt"
    )
    suppressed = engine.processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS))
    with torch.inference_mode():
        output = engine.model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False, suppress_tokens=suppressed)
    return engine.processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]


@pytest.mark.parametrize("new_tokens", [1, 5, 64])
def test_batches_answer_as_the_stock_loop_does_one_by_one(
    engine: TransformersEngine, requests: list[Request], new_tokens: int
) -> None:
    batched = [replies[0] for replies in engine.generate(requests, Decoding(new_tokens))]
    assert batched == [alone(engine, request, new_tokens) for request in requests]
    if new_tokens == 64:
        assert len({len(reply) for reply in batched}) > 5, "replies of one length would prove nothing"


def test_the_penalty_of_a_checkpoint_still_counts(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [replies[0] for replies in engine.generate(requests[:6], Decoding(16))]
    monkeypatch.setattr(engine.model.generation_config, "repetition_penalty", 1.5)
    after = [replies[0] for replies in engine.generate(requests[:6], Decoding(16))]
    assert after != before
    assert after == [alone(engine, request, 16) for request in requests[:6]]


def test_what_is_drawn_depends_on_the_request_alone(engine: TransformersEngine, requests: list[Request]) -> None:
    decoding = Decoding(16, temperature=1.0, samples=3)
    together = list(engine.generate(requests, decoding))
    shuffled = random.Random(1).sample(range(20), 20)
    apart = list(engine.generate([requests[place] for place in shuffled], decoding))
    assert [together[place] for place in shuffled] == apart
    assert [next(iter(engine.generate([request], decoding))) for request in requests[:4]] == together[:4]
    assert len({reply for replies in together for reply in replies}) > 20


def test_chances_are_those_of_the_model() -> None:
    from deepperception.inference.shrinking import Chances

    scores = torch.tensor([[0.0, 1.0, 2.0, float("-inf")]]).repeat(4000, 1)
    picked = Chances(range(4000), torch.device("cpu")).pick(scores, range(4000))
    shares = torch.bincount(picked, minlength=4) / 4000
    assert torch.allclose(shares, scores[0].softmax(0), atol=0.04)


def test_a_picture_that_may_fail_gets_no_reply_and_spoils_no_other(
    engine: TransformersEngine, requests: list[Request]
) -> None:
    bad = Request("?", b"no picture", or_nothing=True)
    mixed = [bad, *requests[:7], bad, bad]
    replies = list(engine.generate(mixed, Decoding(8)))
    assert replies == [[], *engine.generate(requests[:7], Decoding(8)), [], []]
    assert list(engine.generate([bad] * 7, Decoding(8))) == [[]] * 7


def test_no_more_pictures_are_drawn_than_some_batches(engine: TransformersEngine, requests: list[Request]) -> None:
    drawn = [0]

    def endless():
        while True:
            drawn[0] += 1
            yield requests[drawn[0] % 20]

    replies = engine.generate(endless(), Decoding(1))
    for _ in range(30):
        next(replies)
    replies.close()
    assert drawn[0] <= 30 + 2 * 4 * engine.batch_size
