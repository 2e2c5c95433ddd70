from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from safetensors.torch import load_file

from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface, write_interface
from deepperception.artifacts.datasets import read_rows, write_rows
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.progress import Progress
from deepperception.sft.config import Arm, SftConfig
from deepperception.sft.run import reply, run, training_rows

CONFIG = SftConfig(learning_rate=1e-3, batch_size=4, max_steps=2)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def train(
    model: Path,
    data: Path,
    out: Path,
    arm: Arm = "cot_sft",
    log: io.StringIO | None = None,
    interface: Interface | None = None,
) -> Manifest:
    context = Context(
        seed=3, progress=Progress(arm, log or io.StringIO()), recipe_hash="sha256:0", inputs={"data": "d"}
    )
    return run(CONFIG, arm=arm, model=model, data=data, out=out, context=context, interface=interface)


@pytest.fixture(scope="module")
def trained(random_checkpoint: Path, creature_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sft") / "model"
    train(random_checkpoint, creature_rows, out)
    return out


def test_the_frozen_tower_is_untouched_and_the_rest_has_learned(trained: Path, random_checkpoint: Path) -> None:
    before = load_file(random_checkpoint / "model.safetensors")
    after = load_file(trained / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].float().equal(after[name].float())}
    assert not [name for name in changed if "visual" in name], "vision tower and projector must keep their weights"
    assert [name for name in before if "visual" in name]
    assert len(changed) > 20


def test_writes_a_checkpoint_that_says_how_to_ask_it(trained: Path) -> None:
    check_checkpoint(trained)
    interface = read_interface(trained)
    assert (interface.prompt, interface.box_step) == ("r1", 25)
    curves = [json.loads(line) for line in (trained / "evidence/curves.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curves] == [1, 2]
    assert not [key for point in curves for key in point if "time" in key or "second" in key]


def test_the_same_seed_gives_the_same_digest(trained: Path, random_checkpoint: Path, creature_rows: Path) -> None:
    again = train(random_checkpoint, creature_rows, trained.with_name("again"))
    assert again.digest == train(random_checkpoint, creature_rows, trained).digest


def test_a_finished_artifact_is_used_again(trained: Path, random_checkpoint: Path, creature_rows: Path) -> None:
    log = io.StringIO()
    train(random_checkpoint, creature_rows, trained, log=log)
    assert "reusing" in log.getvalue()


def test_the_other_arm_is_another_model(random_checkpoint: Path, creature_rows: Path, tmp_path: Path) -> None:
    train(random_checkpoint, creature_rows, tmp_path / "model")
    log = io.StringIO()
    train(random_checkpoint, creature_rows, tmp_path / "model", arm="sft", log=log)
    assert "made again: its inputs changed (arm)" in log.getvalue()
    assert read_interface(tmp_path / "model").prompt == "bare"


def test_an_interface_from_outside_trains_as_if_the_checkpoint_brought_it(
    trained: Path, random_checkpoint: Path, creature_rows: Path, tmp_path: Path
) -> None:
    asked = Interface(box_step=50, max_pixels=6_272, max_new_tokens=24)
    taken_in = tmp_path / "taken in"
    shutil.copytree(random_checkpoint, taken_in)
    write_interface(taken_in, asked)
    outside = train(random_checkpoint, creature_rows, tmp_path / "a", interface=asked)
    inside = train(taken_in, creature_rows, tmp_path / "b")
    assert read_interface(tmp_path / "a") == asked.model_copy(update={"prompt": "r1"})
    assert outside.digest == inside.digest != train(random_checkpoint, creature_rows, trained).digest
    log = io.StringIO()
    train(random_checkpoint, creature_rows, tmp_path / "a", log=log)
    assert "made again: its inputs changed (interface)" in log.getvalue()


def test_a_row_without_reasoning_is_named(creature_rows: Path, tmp_path: Path) -> None:
    rows = list(read_rows(creature_rows / "sft.parquet"))
    rows[1] = replace(rows[1], reasoning=None)
    write_rows(tmp_path / "sft.parquet", rows)
    with pytest.raises(InputError, match=r"sft\.parquet, row 2: there is no reasoning"):
        training_rows(tmp_path / "sft.parquet", "cot_sft", 25)


def test_the_direct_arm_is_asked_bare_and_learns_no_reasoning(creature_rows: Path) -> None:
    sample = next(read_rows(creature_rows / "sft.parquet"))
    direct, thinking = reply(sample, "sft", 25), reply(sample, "cot_sft", 25)
    assert "<think>" not in direct
    assert thinking == f"<think>{sample.reasoning}</think><answer> {direct} </answer>"


def test_only_the_completion_carries_loss(random_checkpoint: Path, creature_rows: Path, tmp_path: Path) -> None:
    from trl import SFTConfig as TrlSftConfig
    from trl import SFTTrainer

    from deepperception.training.policy import load_policy

    policy = load_policy(random_checkpoint)
    prompt, rows = training_rows(creature_rows / "sft.parquet", "cot_sft", 25)
    assert prompt == "r1"
    arguments = TrlSftConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", completion_only_loss=True,
                             max_length=None, activation_checkpointing=False)  # fmt: skip
    trainer = SFTTrainer(policy.model, args=arguments, train_dataset=rows, processing_class=policy.processor)
    batch = trainer.data_collator([rows[0], rows[1]])
    for ids, labels, row in zip(batch["input_ids"], batch["labels"], (rows[0], rows[1]), strict=True):
        learned = policy.processor.tokenizer.decode(ids[labels != -100])
        assert learned.strip() == row["completion"][0]["content"] + "<|im_end|>"
