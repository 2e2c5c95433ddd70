"""Data in the forms that the paper's authors released: ShareGPT JSON with an archive, and problem-solution parquet."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepperception.artifacts.datasets import read_rows
from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.grounding import Box, Object, Source, render
from deepperception.progress import Progress
from deepperception.synthesis.released import NO_BOX, NO_ENTITY, NO_PICTURE, import_released

QUESTION = "Find and give the bounding box of <|object_ref_start|>Douglas DC-6<|object_ref_end|>"
PROMPT = f"<image>{render('r1', QUESTION)}"
ANSWER = "<|object_ref_start|>Douglas DC-6<|object_ref_end|><|box_start|>(519,608),(986,768)<|box_end|>"
REPLY = f"<think>Four propellers, round windows.</think><answer> {ANSWER} </answer>"


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def conversation(image: str, *, asked: str = PROMPT, replied: str = REPLY, other_form: bool = False) -> dict[str, Any]:
    if other_form:
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": replied}]
        return {"conversations": turns, "images": [image]}
    return {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": replied}],
        "images": [image],
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for number in range(3):
            file.writestr(f"images/{number}.jpg", picture(number))
        file.writestr("images/broken.jpg", b"no picture")
    return tmp_path / "images.zip"


def run(tmp_path: Path, sft: list[Path], rl: list[Path], images: Path | None = None) -> Path:
    context = Context(seed=0, progress=Progress(stream=io.StringIO()), recipe_hash="", inputs={})
    import_released(sft, rl, images, "research only", tmp_path / "data", context)
    return tmp_path / "data"


def write_json(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


def test_conversations_become_rows_with_reasoning(tmp_path: Path, archive: Path) -> None:
    rows = [conversation("images/0.jpg"), conversation("images/1.jpg", other_form=True)]
    data = run(tmp_path, [write_json(tmp_path / "cot-sft-aircraft.json", rows)], [], archive)
    first, second = read_rows(data / "sft.parquet")
    assert (first.question_id, first.category, first.question) == ("aircraft/0", "aircraft", QUESTION)
    assert (first.entity, first.answer, first.target) == ("Douglas DC-6", ANSWER, Box(519, 608, 986, 768))
    assert first.reasoning == "Four propellers, round windows."
    assert first.objects == (Object("Douglas DC-6", Box(519, 608, 986, 768)),)
    assert first.sources == (Source("images/0.jpg", "research only"),)
    assert (first.split, first.seen, first.image) == ("train", True, picture(0))
    assert (second.question_id, second.reasoning) == ("aircraft/1", first.reasoning)
    assert not (data / "rl.parquet").exists()


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path, archive: Path) -> None:
    rows = [
        conversation("images/0.jpg"),
        conversation("images/gone.jpg"),
        conversation("images/broken.jpg"),
        conversation("../../etc/passwd"),
        conversation("images/1.jpg", asked="<image>Where is it?"),
        conversation("images/2.jpg", replied="<think>Hm.</think><answer> I cannot say. </answer>"),
    ]
    data = run(tmp_path, [write_json(tmp_path / "cot-sft-car.json", rows)], [], archive)
    card = json.loads((data / "card.json").read_text())
    assert card["files"]["sft"]["rows"] == 1
    assert {reason: found["count"] for reason, found in card["left_out"].items()} == {
        NO_PICTURE: 3,
        NO_ENTITY: 1,
        NO_BOX: 1,
    }
    assert card["leakage"] == {"checked": False}


@pytest.mark.parametrize("struct", [False, True])
def test_problems_become_rows_without_reasoning(tmp_path: Path, struct: bool) -> None:
    image = [{"bytes": picture(n), "path": f"{n}.jpg"} if struct else picture(n) for n in range(2)]
    table = {"image": image, "problem": [QUESTION] * 2, "solution": [f"<answer> {ANSWER} </answer>"] * 2}
    pq.write_table(pa.table(table), tmp_path / "grpo-bird.parquet")
    data = run(tmp_path, [], [tmp_path / "grpo-bird.parquet"])
    first, second = read_rows(data / "rl.parquet")
    assert (first.question_id, first.category, first.answer, first.reasoning) == ("bird/0", "bird", ANSWER, None)
    assert first.sources == (Source("0.jpg" if struct else "grpo-bird.parquet#0", "research only"),)
    assert second.image == picture(1)


def test_a_folder_of_pictures_will_do_and_nothing_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for place in ("pictures/0.jpg", "outside.jpg"):
        (tmp_path / place).write_bytes(picture(0))
    rows = [conversation("0.jpg"), conversation("../outside.jpg")]
    data = run(tmp_path, [write_json(tmp_path / "cot-sft-car.json", rows)], [], tmp_path / "pictures")
    assert [sample.sources[0].id for sample in read_rows(data / "sft.parquet")] == ["0.jpg"]


@pytest.mark.parametrize(
    "content, told",
    [
        ("{", "this is no JSON"),
        ('{"a": 1}', "expected a list of conversations"),
        ('[{"messages": []}]', "row 1: expected `messages`"),
        (json.dumps([conversation("gone.jpg")]), "no row of it can be used"),
    ],
)
def test_a_file_of_another_form_is_told(tmp_path: Path, archive: Path, content: str, told: str) -> None:
    (tmp_path / "cot-sft-car.json").write_text(content)
    with pytest.raises(InputError, match=told):
        run(tmp_path, [tmp_path / "cot-sft-car.json"], [], archive)


def test_pictures_and_columns_that_are_missing_are_told(tmp_path: Path) -> None:
    path = write_json(tmp_path / "cot-sft-car.json", [conversation("0.jpg")])
    with pytest.raises(InputError, match="give the archive or the folder with --images"):
        run(tmp_path, [path], [])
    with pytest.raises(InputError, match="this is no zip archive"):
        run(tmp_path, [path], [], path)
    pq.write_table(pa.table({"image": [picture(0)], "problem": [QUESTION]}), tmp_path / "grpo-car.parquet")
    with pytest.raises(InputError, match="the column 'solution' is missing"):
        run(tmp_path, [], [tmp_path / "grpo-car.parquet"])
