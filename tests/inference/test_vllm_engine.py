"""What is handed to vLLM, and what is said where it is missing. None of it needs vLLM or a GPU."""

from __future__ import annotations

import importlib.machinery
import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip("transformers", reason="needs the train or serve extra")

from deepperception.errors import InputError
from deepperception.evaluation.config import EvaluationConfig
from deepperception.inference import backend
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.open import backend_of, opener
from deepperception.inference.processor import load_processor
from deepperception.inference.vllm_engine import VllmEngine, engine_arguments, sampling_arguments, vllm_request


def picture(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


def test_where_it_is_missing_one_sentence_says_so(random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda _: None)
    for attempt in (
        lambda: opener("vllm"),
        lambda: backend_of("vllm"),
        lambda: VllmEngine(random_checkpoint, max_pixels=12_544),
    ):
        with pytest.raises(InputError, match=r"vllm is not installed here; install deepperception\[gpu\]"):
            attempt()


def test_the_picture_is_bounded_and_no_code_of_a_checkpoint_runs() -> None:
    size = {"shortest_edge": 3136, "longest_edge": 401_408}
    arguments = engine_arguments(Path("model"), size, 32, dtype="bfloat16")
    assert arguments["mm_processor_kwargs"] == {"size": size}
    assert arguments["limit_mm_per_prompt"] == {"image": 1}
    assert (arguments["trust_remote_code"], arguments["load_format"]) == (False, "safetensors")
    assert arguments["generation_config"] == "vllm", "a checkpoint's own way to draw is not to be mixed in"
    assert (arguments["model"], arguments["dtype"], arguments["max_num_seqs"]) == ("model", "bfloat16", 32)


def test_the_prompt_is_the_checkpoints_own_with_one_placeholder(random_checkpoint: Path) -> None:
    processor = load_processor(random_checkpoint, max_pixels=12_544)
    image = Image.new("RGB", (8, 6))
    made = vllm_request(processor, Request("And now?", b"", before=(("Which one?", "The left one."),)), image)
    assert made["multi_modal_data"] == {"image": image}
    assert made["prompt"].count("<|image_pad|>") == 1
    places = [made["prompt"].index(part) for part in ("<|image_pad|>", "Which one?", "The left one.", "And now?")]
    assert places == sorted(places)


@pytest.mark.parametrize(("temperature", "samples"), [(0.0, 1), (0.7, 4)])
def test_replies_are_drawn_as_the_score_will_say(temperature: float, samples: int) -> None:
    made = sampling_arguments(Decoding(99, temperature=temperature, samples=samples), 7, [5, 6])
    assert (made["n"], made["temperature"], made["max_tokens"], made["seed"]) == (samples, temperature, 99, 7)
    assert (made["top_p"], made["top_k"]) == (1.0, 0), "from the whole distribution"
    assert made["logit_bias"] == {5: -100.0, 6: -100.0}


class StandIn:
    """vLLM's two names, as far as they are used."""

    def __init__(self) -> None:
        self.calls: list[list] = []
        module = ModuleType("vllm")
        module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
        module.LLM = self.open  # type: ignore[attr-defined]
        module.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
        self.module = module

    def open(self, **arguments):
        self.arguments = arguments
        return self

    def generate(self, prompts, sampling, use_tqdm):
        assert len(prompts) == len(sampling)
        self.calls.append(sampling)
        return [
            SimpleNamespace(outputs=[SimpleNamespace(text=f"{prompt['prompt'][-60:]} {each.seed}")] * each.n)
            for prompt, each in zip(prompts, sampling, strict=True)
        ]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setitem(sys.modules, "vllm", made.module)
    monkeypatch.setattr(backend.metadata, "version", lambda name: "0.30.0")
    return made


def test_replies_come_back_in_order_each_with_its_request(random_checkpoint: Path, stand_in: StandIn) -> None:
    engine = opener("vllm")(random_checkpoint, max_pixels=12_544, batch_size=3)
    assert engine.backend == {"engine": "vllm", "version": "0.30.0", "dtype": engine.backend["dtype"]}
    assert stand_in.arguments["mm_processor_kwargs"]["size"]["longest_edge"] == 12_544
    requests = [Request(f"question {number}", picture((8, 6)), seed=100 + number) for number in range(14)]
    requests[4] = Request("question 4", b"no picture", or_nothing=True)
    replies = list(engine.generate(requests, Decoding(9, temperature=0.5, samples=2)))
    assert [len(call) for call in stand_in.calls] == [5, 6, 2]
    assert replies[4] == []
    for number, each in enumerate(replies):
        if number != 4:
            assert len(each) == 2
            assert f"question {number}<" in each[0] and each[0].endswith(f" {100 + number}")


def test_a_picture_that_cannot_be_read_is_named(random_checkpoint: Path, stand_in: StandIn) -> None:
    engine = opener("vllm")(random_checkpoint, max_pixels=12_544, batch_size=3)
    with pytest.raises(InputError, match=r"^dog/3: this is not a picture"):
        list(engine.generate([Request("?", b"no picture", name="dog/3")], Decoding()))


def test_a_recipe_chooses_the_engine() -> None:
    assert EvaluationConfig().engine == "transformers"
    assert EvaluationConfig.model_validate({"engine": "vllm"}).engine == "vllm"
    with pytest.raises(InputError, match="loads no checkpoint"):
        opener("openai")
