"""What a component's one call does around the stage."""

from __future__ import annotations

import errno
import json
import os
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deepperception.errors import DeepPerceptionError, GateRefused, InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.platform import stages, steps


class FaultyPhotos(InputError):
    """A stage's own kind of InputError."""


@dataclass
class Artifact:
    """As KFP gives it to a component."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


def run(infra: Infra, outputs: dict[str, Artifact], inputs: dict[str, Artifact] | None = None) -> None:
    steps.run_step("grpo", "{}", infra.to_json(), 7, outputs=outputs, inputs=inputs)  # type: ignore[arg-type]


def test_references_go_in_and_come_out(tmp_path: Path, infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def execute(**call: Any) -> dict[str, Any]:
        calls.append(call)
        return {"policy": {"metadata": {"uri": "file:///policy", "digest": "sha256:2", "reward": 0.5}}}

    monkeypatch.setattr(stages, "execute", execute)
    model = Artifact("unused", {"uri": "file:///model", "digest": "sha256:1"})
    policy = Artifact(str(tmp_path / "artifacts" / "policy"))
    run(infra, {"policy": policy}, {"model": model})

    assert calls == [
        {"stage": "grpo", "recipe": "{}", "infra": infra.to_json(), "seed": 7, "inputs": {"model": model.metadata}}
    ]
    assert policy.metadata == {"uri": "file:///policy", "digest": "sha256:2", "reward": 0.5}
    written = json.loads((Path(policy.path) / "ref.json").read_text())
    assert written == {"uri": "file:///policy", "digest": "sha256:2"}
    assert json.loads((infra.work_dir / steps.RESULTS / "grpo.json").read_text())["policy"]["metadata"]["reward"] == 0.5


def test_an_input_that_a_killed_stage_never_handed_on_is_said_in_one_sentence(
    tmp_path: Path, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "execute", lambda **_: pytest.fail("it has nothing to work on"))
    with pytest.raises(SystemExit) as left:
        run(infra, {"policy": Artifact(str(tmp_path / "policy"))}, {"model": Artifact("unused")})
    assert left.value.code == InfrastructureError.exit_code
    told = steps.failure(infra.work_dir, tmp_path / "log", [])
    assert isinstance(told, InfrastructureError)
    assert str(told).startswith("the stage that makes 'model' was killed before it could hand it on; ")


def test_what_lies_beside_an_output_travels_with_it(
    tmp_path: Path, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "trainjob.yaml"
    job.write_text("kind: TrainJob")
    output = {"metadata": {"uri": "file:///policy", "digest": "sha256:2"}, "beside": [str(job)]}
    monkeypatch.setattr(stages, "execute", lambda **_: {"policy": output})
    policy = Artifact(str(tmp_path / "artifacts" / "policy"))
    run(infra, {"policy": policy})
    assert (Path(policy.path) / "trainjob.yaml").read_text() == "kind: TrainJob"


def test_a_page_is_copied_to_where_the_pipeline_shows_it(
    tmp_path: Path, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "report.html"
    page.write_text("<h1>report</h1>")
    monkeypatch.setattr(stages, "execute", lambda **_: {"page": {"metadata": {}, "page": str(page)}})
    shown = Artifact(str(tmp_path / "artifacts" / "page"))
    run(infra, {"page": shown})
    assert Path(shown.path).read_text() == "<h1>report</h1>"


@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (InputError("a sentence."), InputError, 1),
        (FaultyPhotos("a sentence."), InputError, 1),
        (InfrastructureError("a sentence."), InfrastructureError, 3),
        (GateRefused("a sentence."), GateRefused, 4),
    ],
)
def test_an_error_reaches_the_run_by_its_type(
    infra: Infra,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: DeepPerceptionError,
    kind: type[DeepPerceptionError],
    code: int,
) -> None:
    def execute(**_: Any) -> dict[str, Any]:
        raise raised

    monkeypatch.setattr(stages, "execute", execute)
    with pytest.raises(SystemExit) as left:
        run(infra, {})
    assert left.value.code == code
    assert "Traceback" not in capsys.readouterr().err
    found = steps.failure(infra.work_dir, Path("run.log"), [])
    assert type(found) is kind
    assert str(found) == "a sentence."


def test_a_bug_is_told_with_the_place_of_its_traceback(
    infra: Infra, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(**_: Any) -> dict[str, Any]:
        raise ValueError("odd\nvery odd")

    monkeypatch.setattr(stages, "execute", execute)
    with pytest.raises(SystemExit):
        run(infra, {})
    assert "Traceback" in capsys.readouterr().err
    found = steps.failure(infra.work_dir, Path("run.log"), [])
    assert type(found) is InfrastructureError
    assert str(found) == "the stage 'grpo' broke off (ValueError: odd); run.log says where."


def test_a_step_that_left_no_word_was_killed(tmp_path: Path) -> None:
    assert "killed" in str(steps.failure(tmp_path, Path("run.log"), ["sft: step 1"]))


def test_a_disk_too_full_for_a_step_to_leave_word_is_still_the_users_to_mend(
    infra: Infra, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(**_: Any) -> dict[str, Any]:
        raise InputError("the disk is full.")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stages, "execute", execute)
    monkeypatch.setattr(steps, "write_text", full)
    with pytest.raises(OSError) as left:
        run(infra, {})
    assert capsys.readouterr().err == "grpo: the disk is full.\n"
    said = "".join(traceback.format_exception(left.value)).splitlines()
    found = steps.failure(infra.work_dir, Path("run.log"), said)
    assert type(found) is InputError
    assert "work: the disk is full; free some space" in str(found)
