"""The vLLM adapter, against a fake of the part of AsyncLLM that it uses: what is asked, what becomes of the replies.

No GPU and no vllm are needed, and none is tested.
"""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from deepperception.errors import InfrastructureError
from deepperception.inference.engine import Decoding, Request
from deepperception.serving.live import Ending, Piece
from deepperception.serving.vllm_engine import VllmEngine, live_arguments

from .conftest import picture


class FakeAsyncLLM:
    """Says the given pieces, one token each; `aborted` counts generators that were closed early, as vLLM notices it."""

    def __init__(self, *pieces, reason="stop"):
        self.pieces, self.reason, self.asked, self.aborted, self.ended = pieces, reason, [], 0, False

    async def generate(self, prompt, sampling_params, request_id):
        self.asked.append((prompt, sampling_params, request_id))
        finished = False
        try:
            for number, text in enumerate(self.pieces):
                finished = number == len(self.pieces) - 1
                said = SimpleNamespace(text=text, token_ids=[number], finish_reason=self.reason if finished else None)
                yield SimpleNamespace(outputs=[said], finished=finished, prompt_token_ids=[1, 2, 3])
        finally:
            self.aborted += not finished

    def shutdown(self):
        self.ended = True


class FakeProcessor:
    tokenizer = SimpleNamespace(convert_tokens_to_ids=lambda tokens: [900 + place for place, _ in enumerate(tokens)])

    def apply_chat_template(self, turns, *, add_generation_prompt):
        assert add_generation_prompt
        said = ["+".join(part.get("text", "<image>") for part in turn["content"]) for turn in turns]
        return "|".join(f"{turn['role']}:{text}" for turn, text in zip(turns, said, strict=True))


def engine_over(fake):
    return VllmEngine(fake, FakeProcessor(), dict, {"engine": "vllm"})


def ask(fake, request=None, decoding=None):
    async def said():
        engine = engine_over(fake)
        return [
            piece async for piece in engine.stream(request or Request("Where?", picture()), decoding or Decoding(9))
        ]

    return asyncio.run(said())


def test_the_reply_arrives_in_pieces_with_its_count_at_the_end():
    assert ask(FakeAsyncLLM("a", "b", "")) == [Piece("a"), Piece("b"), Piece("", Ending(3, 3, False))]


def test_a_reply_as_long_as_it_may_be_says_so():
    assert ask(FakeAsyncLLM("a", "b", reason="length"))[-1].ending.cut_off


def test_the_request_holds_the_templates_text_and_the_upright_picture():
    fake = FakeAsyncLLM("a")
    ask(fake, Request("And now?", picture(80, 40), before=(("Where?", "There."),)), Decoding(7, 0.5, seed=11))
    ((prompt, sampling, _),) = fake.asked
    assert prompt["prompt"] == "user:<image>+Where?|assistant:There.|user:And now?"
    assert prompt["multi_modal_data"]["image"].size == (80, 40)
    assert sampling == {
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 11,
        "skip_special_tokens": True,
        "logit_bias": {900: -100.0, 901: -100.0},
    }


def test_requests_at_once_have_names_of_their_own():
    fake = FakeAsyncLLM("a")

    async def many():
        engine = engine_over(fake)

        async def one():
            return [piece async for piece in engine.stream(Request("Where?", picture()), Decoding(9))]

        await asyncio.gather(*(one() for _ in range(5)))

    asyncio.run(many())
    assert len({identity for _, _, identity in fake.asked}) == 5


def test_who_leaves_early_aborts_the_request():
    fake = FakeAsyncLLM("a", "b", "c")

    async def leaves():
        async with contextlib.aclosing(engine_over(fake).stream(Request("Where?", picture()), Decoding(9))) as pieces:
            await anext(pieces)

    asyncio.run(leaves())
    assert fake.aborted == 1


def test_it_is_started_as_the_model_was_trained_and_runs_no_foreign_code(tmp_path):
    arguments = live_arguments(tmp_path, {"shortest_edge": 3_136, "longest_edge": 401_408})
    assert arguments["mm_processor_kwargs"]["size"] == {"shortest_edge": 3_136, "longest_edge": 401_408}
    assert (arguments["trust_remote_code"], arguments["load_format"]) == (False, "safetensors")
    assert arguments["enable_prefix_caching"] and arguments["allowed_local_media_path"] == ""


def test_without_vllm_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(InfrastructureError, match="install the extra 'gpu'"):
        VllmEngine.load(tmp_path, max_pixels=3_136)
