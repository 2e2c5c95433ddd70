"""The engine heard while it speaks: the pieces make up the reply, and the reply is that of the plain engine."""

import io

import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the train extra")

from deepperception.artifacts import resolve
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.streaming import StreamingEngine
from deepperception.inference.transformers_engine import TransformersEngine


@pytest.fixture(scope="module")
def requests():
    def file(colour):
        buffer = io.BytesIO()
        Image.new("RGB", (112, 112), colour).save(buffer, "PNG")
        return buffer.getvalue()

    return [Request(f"Describe the {colour} one.", file(colour)) for colour in ("red", "green", "blue")]


@pytest.fixture(scope="module")
def engine():
    """The shipped base model: one with random weights writes bytes that are no text, in pieces or whole."""
    return StreamingEngine(resolve("package://deepperception.bestiary/base"), max_pixels=12_544)


def everything(_):
    return True


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_pieces_make_up_the_reply_and_the_reply_is_the_plain_engines(engine, requests, temperature):
    decoding = Decoding(24, temperature, seed=3)
    pieces = {place: [] for place in range(3)}

    def heard(gained):
        for place, text in gained.items():
            pieces[place].append(text)

    said = engine.stream(requests, decoding, heard=heard, listens=lambda place: place != 1, needed=everything)
    assert ["".join(pieces[0]), "".join(pieces[2])] == [said[0].text, said[2].text]
    assert pieces[1] == [], "nobody listened"
    assert len(pieces[0]) > 1, "it came in pieces"
    if temperature == 0:
        plain = TransformersEngine.around(engine.model, engine.processor).generate(requests, decoding)
        assert [each.text for each in said] == [reply[0] for reply in plain]
    for each in said:
        assert each.cut_off == (each.reply_tokens == 24)
        assert each.prompt_tokens > 16, "the picture's own tokens count"


def test_what_nobody_needs_any_more_ends(engine, requests):
    steps = []

    def needed(place):
        steps.append(place)
        return len(steps) < 6

    said = engine.stream(requests, Decoding(64), heard=lambda _: None, listens=everything, needed=needed)
    assert max(each.reply_tokens for each in said) <= 3
