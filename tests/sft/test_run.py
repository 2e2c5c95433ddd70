from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from safetensors.torch import load_file

from deepperception.artifacts.checkpoints import check_checkpoint, read_interface
from deepperception.artifacts.datasets import read_rows
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context
from deepperception.progress import Progress
from deepperception.sft.config import Arm, SftConfig
from deepperception.sft.run import reply, run

CONFIG = SftConfig(learning_rate=1e-3, batch_size=4, max_steps=2)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def train(model: Path, data: Path, out: Path, arm: Arm = "cot_sft", log: io.StringIO | None = None) -> Manifest:
    context = Context(
        seed=3, progress=Progress(arm, log or io.StringIO()), recipe_hash="sha256:0", inputs={"data": "d"}
    )
    return run(CONFIG, arm=arm, model=model, data=data, out=out, context=context)


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


def test_the_direct_arm_is_asked_bare_and_learns_no_reasoning(creature_rows: Path) -> None:
    sample = next(read_rows(creature_rows / "sft.parquet"))
    direct, thinking = reply(sample, "sft", 25), reply(sample, "cot_sft", 25)
    assert "<think>" not in direct
    assert thinking == f"<think>{sample.reasoning}</think><answer> {direct} </answer>"


def test_only_the_completion_carries_loss(random_checkpoint: Path, creature_rows: Path, tmp_path: Path) -> None:
    from trl import SFTConfig as TrlSftConfig
    from trl import SFTTrainer

    from deepperception.sft.run import training_rows
    from deepperception.training.policy import load_policy

    policy = load_policy(random_checkpoint)
    rows = training_rows(creature_rows / "sft.parquet", "cot_sft", 25)
    arguments = TrlSftConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", completion_only_loss=True,
                             max_length=None, activation_checkpointing=False)  # fmt: skip
    trainer = SFTTrainer(policy.model, args=arguments, train_dataset=rows, processing_class=policy.processor)
    batch = trainer.data_collator([rows[0], rows[1]])
    for ids, labels, row in zip(batch["input_ids"], batch["labels"], (rows[0], rows[1]), strict=True):
        learned = policy.processor.tokenizer.decode(ids[labels != -100])
        assert learned.strip() == row["completion"][0]["content"] + "<|im_end|>"
