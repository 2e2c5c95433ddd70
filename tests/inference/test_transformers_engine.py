from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("transformers", reason="needs the train or serve extra")

from deepperception.artifacts.datasets import read_rows
from deepperception.errors import InputError
from deepperception.grounding import render
from deepperception.inference import chat
from deepperception.inference.backend import transformers_backend
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor
from deepperception.inference.transformers_engine import TransformersEngine

GREEDY = Decoding(max_new_tokens=12)


@pytest.fixture(scope="module")
def engine(random_checkpoint: Path) -> TransformersEngine:
    return TransformersEngine(random_checkpoint, max_pixels=112 * 112, batch_size=5)


@pytest.fixture(scope="module")
def requests(creature_rows: Path) -> list[Request]:
    rows = list(read_rows(creature_rows / "sft.parquet"))
    # Prompts of different lengths, so that the shorter ones of a batch are padded.
    return [
        Request(render("bare" if number % 2 else "r1", row.question) + "!" * number, row.image)
        for number, row in enumerate(rows)
    ]


def test_a_batch_answers_as_one_by_one(engine: TransformersEngine, requests: list[Request]) -> None:
    together = list(engine.generate(requests, GREEDY))
    alone = [next(iter(engine.generate([request], GREEDY))) for request in requests]
    assert together == alone
    assert len({replies[0] for replies in together}) > 1, "equal replies to everything would prove nothing"


def test_a_second_turn_follows_the_first(engine: TransformersEngine, requests: list[Request]) -> None:
    said = Request("And now?", requests[0].image, before=(("Which one?", "The left one."),))
    prompt = chat.prompt(engine.processor, said)
    assert prompt.count("<|image_pad|>") == 1
    parts = ["<|image_pad|>", "Which one?", "assistant", "The left one.", "And now?", "assistant"]
    places = [prompt.index(part) for part in parts[:-1]] + [prompt.rindex(parts[-1])]
    assert places == sorted(places)
    assert next(iter(engine.generate([said], GREEDY))) != next(iter(engine.generate([requests[0]], GREEDY)))


def test_samples_follow_the_seed(engine: TransformersEngine, requests: list[Request]) -> None:
    def draw(seed: int) -> list[list[str]]:
        return list(engine.generate(requests[:3], Decoding(12, temperature=1.0, samples=4, seed=seed)))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert [len(replies) for replies in draw(1)] == [4, 4, 4]


def test_sampling_leaves_the_global_generator_alone(engine: TransformersEngine, requests: list[Request]) -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    list(engine.generate(requests[:1], Decoding(4, temperature=1.0)))
    assert torch.equal(torch.rand(1), expected)


def test_says_what_a_score_must_record(engine: TransformersEngine) -> None:
    assert engine.backend["engine"] == "transformers"
    assert engine.backend["dtype"] == "float32"


def test_what_a_score_will_record_is_known_before_the_weights_are_loaded(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert transformers_backend() == engine.backend
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert transformers_backend() == {**engine.backend, "dtype": "bfloat16"}


def test_a_picture_that_cannot_be_read_is_named(engine: TransformersEngine, requests: list[Request]) -> None:
    bad = Request("?", requests[0].image[:40], name="kvg.parquet, question_id 'dog/3'")
    with pytest.raises(InputError, match=r"^kvg.parquet, question_id 'dog/3': this is not a picture"):
        list(engine.generate([*requests[:2], bad], GREEDY))


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1)])
def test_a_picture_of_extreme_shape_is_named(engine: TransformersEngine, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"^dog/3: at \d+ x \d+ the picture is over 200 times as long as wide"):
        list(engine.generate([Request("?", _png(size), name="dog/3")], GREEDY))


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (3, 600), (5, 2)])
def test_small_pictures_are_answered(engine: TransformersEngine, size: tuple[int, int]) -> None:
    assert len(list(engine.generate([Request("?", _png(size))], Decoding(max_new_tokens=1)))) == 1


def _png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 60)).save(file, "PNG")
    return file.getvalue()


def test_a_folder_that_is_no_qwen_vl_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="'bert'"):
        load_model(tmp_path)


def test_the_stock_auto_processor_finds_its_video_half(random_checkpoint: Path) -> None:
    text = (random_checkpoint / "processor_config.json").read_text()
    assert '"video_processor_type": "Qwen2VLVideoProcessor"' in text
    assert '"processor_class": "Qwen2VLProcessor"' in text


def test_pictures_are_bounded(random_checkpoint: Path) -> None:
    processor = load_processor(random_checkpoint, max_pixels=56 * 56)
    batch = processor.image_processor([Image.new("RGB", (800, 400))], return_tensors="pt")
    _, height, width = batch["image_grid_thw"][0].tolist()
    assert height * width * 14 * 14 <= 56 * 56
