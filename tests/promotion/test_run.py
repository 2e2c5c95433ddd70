"""Promotion from evaluations to alias: order, repetition, kills, refusals."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deepperception.artifacts import payload_digest, read_manifest, verify
from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.promotion import Result, Wishes, best, current, read_evidence, run
from deepperception.promotion.config import PromotionConfig
from deepperception.tracking import MODEL

if TYPE_CHECKING:
    from tests.promotion.conftest import Evaluate, World

COT_SFT = 1


def promote(world: World, *, wishes: Wishes | None = None, **settings: Any) -> Result:
    return run(
        PromotionConfig(**settings),
        world.inputs,
        world.out,
        world.context,
        tracker=world.tracker,
        store=world.store,
        cluster=world.service,
        wishes=wishes or Wishes(),
    )


def aliases(world: World) -> dict[str, int | None]:
    found = {name: world.tracker.alias(MODEL, name) for name in ("champion", "previous")}
    return {name: version and version.number for name, version in found.items()}


def test_nobody_is_candidate_once_it_is_champion(world: World) -> None:
    promote(world)
    assert world.tracker.alias(MODEL, "candidate") is None


def test_a_version_says_where_it_comes_from(world: World) -> None:
    promote(world)
    tags = current(world.tracker).tags
    assert tags["evaluation"] == read_manifest(world.inputs.arms[COT_SFT].test).digest
    assert tags["gate"].startswith("the candidate is better by +40.0 points")


@pytest.mark.parametrize(
    ("settings", "outcome", "told"),
    [
        ({"max_memory_gib": 2.0, "max_p95_s": 60.0}, "promoted", "memory is 1.00 GiB"),
        ({"max_memory_gib": 0.5}, "refused", "memory is 1.00 GiB .*; at most 0.5 GiB is allowed"),
        ({"require_leakage_check": True}, "refused", "no leakage guard was run"),
        # Both at once, and the first criterion with them.
        ({"max_memory_gib": 0.5, "min_gain": 0.9}, "refused", r"must exceed \+90.0 points; memory is 1.00 GiB"),
    ],
)
def test_budgets_and_leakage_count(world: World, settings: dict[str, Any], outcome: str, told: str) -> None:
    result = promote(world, **settings)
    assert result.outcome == outcome
    assert result.decision is not None
    assert re.search(told, " ".join([result.reason, *(one.sentence for one in result.decision.criteria)]))
    page = (world.out / "decision.html").read_text()
    assert all(f"<td>{one.name}</td>" in page for one in result.decision.criteria)


@pytest.mark.parametrize(
    ("verdict", "required", "outcome"),
    [
        ("clean", True, "promoted"),
        ("found", False, "refused"),
        ("overridden", False, "promoted"),
        ("overridden", True, "refused"),
    ],
)
def test_what_the_leakage_guard_found_is_read_from_the_card(
    world: World, tmp_path: Path, verdict: str, required: bool, outcome: str
) -> None:
    pairs = [] if verdict == "clean" else [{"photo": "a", "question_id": "b"}]
    told = {"checked": True, "verdict": verdict, "pairs": pairs, "reason": "a trial"}
    (tmp_path / "card.json").write_text(json.dumps({"leakage": told}))
    world.inputs = dataclasses.replace(world.inputs, dataset=tmp_path)
    result = promote(world, require_leakage_check=required)
    assert result.outcome == outcome
    assert outcome == "promoted" or "found training photos in the benchmark (1 pairs)" in result.reason


def test_an_override_is_kept_everywhere(world: World) -> None:
    result = promote(world, wishes=Wishes(override="the demo is tomorrow"), min_gain=0.9)
    assert result.outcome == "promoted"
    assert result.reason.startswith("overruled (the demo is tomorrow): the candidate's gain is +40.0 points")
    assert read_evidence(world.out)["decision"]["override"] == "the demo is tomorrow"
    assert current(world.tracker).tags["override"] == "the demo is tomorrow"
    assert "overruled (the demo is tomorrow)" in world.log.getvalue()


def test_an_override_that_is_not_needed_is_none(world: World) -> None:
    result = promote(world, wishes=Wishes(override="to be sure"))
    assert result.decision is not None and result.decision.override is None
    assert "override" not in current(world.tracker).tags


def test_an_override_needs_a_reason(world: World) -> None:
    with pytest.raises(InputError, match="--override: the reason is empty"):
        promote(world, wishes=Wishes(override="  "))
    assert aliases(world) == {"champion": 1, "previous": None}


def test_evidence_that_was_changed_decides_nothing(world: World) -> None:
    test = world.inputs.arms[COT_SFT].test
    (test / "metrics.json").write_text((test / "metrics.json").read_text() + "\n")
    result = promote(world)
    assert result.outcome == "refused"
    assert "the evidence is not complete: the candidate: " in result.reason
    assert "its files changed" in result.reason


def test_evidence_of_another_model_decides_nothing(world: World, evaluate: Evaluate) -> None:
    other = evaluate("other/test", range(150), model="sha256:other")
    cot_sft = dataclasses.replace(world.inputs.arms[COT_SFT], test=other)
    world.inputs = dataclasses.replace(world.inputs, arms=[cot_sft])
    assert "the candidate's evaluation is of sha256:other" in promote(world).reason


def test_the_best_arm_replaces_the_base(world: World) -> None:
    result = promote(world)
    cot_sft = world.inputs.arms[COT_SFT]
    assert (result.outcome, result.candidate) == ("promoted", "cot_sft")
    assert (result.champion.number, result.champion.digest) == (2, cot_sft.model.digest)
    assert result.decision is not None
    assert (result.decision.candidate_accuracy, result.decision.champion_accuracy) == (0.7, 0.3)
    assert aliases(world) == {"champion": 2, "previous": 1}
    base, promoted = world.tracker.versions(MODEL)
    assert base.digest == world.inputs.base.model.digest, "the first champion is the base"
    assert promoted.uri == cot_sft.model.uri
    assert world.service.served == [b"cot_sft"]
    assert world.evaluated == [], "the base was scored in this run"


def test_evidence_says_who_met_whom_and_is_kept_by_digest(world: World) -> None:
    promote(world)
    evidence = read_evidence(world.out)
    assert evidence["validation"] == {"sft": 0.45, "cot_sft": 0.7, "grpo": 0.69}
    assert evidence["champion"] == {"digest": world.inputs.base.model.digest}
    assert evidence["decision"]["promote"] is True
    digest = current(world.tracker).tags["evidence"]
    assert digest == verify(world.out).digest
    assert payload_digest(world.store.root / "sha256" / digest.removeprefix("sha256:")) == digest
    assert "version" not in evidence, "numbers depend on the registry, evidence must not"


def test_the_same_model_again_is_already_champion(world: World) -> None:
    promote(world)
    evidence = read_manifest(world.out)
    again = promote(world)
    assert (again.outcome, again.decision) == ("already champion", None)
    assert again.champion.number == 2
    assert world.service.events == ["serving"], "nothing is served for nothing"
    assert aliases(world) == {"champion": 2, "previous": 1}
    assert read_manifest(world.out) == evidence, "the evidence of its promotion stays"


def test_already_champion_without_evidence_writes_that_nothing_was_decided(world: World) -> None:
    promote(world)
    world.out = world.out.with_name("elsewhere")
    promote(world)
    assert read_evidence(world.out)["decision"] is None
    assert "already champion" in read_evidence(world.out)["reason"]


def test_evidence_of_another_candidate_is_not_taken_for_the_champions(world: World) -> None:
    promote(world)
    world.inputs, whole = dataclasses.replace(world.inputs, arms=world.inputs.arms[:1]), world.inputs
    assert promote(world, min_gain=0.5).outcome == "refused"
    world.inputs = whole
    again = promote(world)
    evidence = read_evidence(world.out)
    assert (again.outcome, evidence["reason"]) == ("already champion", again.reason)
    assert (evidence["candidate"]["digest"], evidence["decision"]) == (again.champion.digest, None)


def test_evidence_that_is_not_whole_is_written_anew(world: World) -> None:
    promote(world)
    (world.out / "decision.json").unlink()
    assert promote(world).outcome == "already champion"
    assert read_evidence(world.out)["decision"] is None


def test_the_alias_moves_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, method in ((world.store, "put"), (world.tracker, "register"), (world.tracker, "set_alias")):
        original = getattr(owner, method)

        def noted(*args: Any, original: Any = original, method: str = method) -> Any:
            world.service.events.append(" ".join([method, *(str(a) for a in args[1:2] if method == "set_alias")]))
            return original(*args)

        monkeypatch.setattr(owner, method, noted)
    promote(world)
    assert world.service.events == [
        *("register", "set_alias champion"),  # the base takes the empty place
        *("put", "register", "set_alias candidate", "serving", "set_alias previous", "set_alias champion"),
    ]


@pytest.mark.parametrize("call", range(8))
def test_killed_anywhere_the_next_run_ends_the_same(world: World, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    calls = 0

    def killing(original: Any) -> Any:
        def method(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call + 1:
                raise KeyboardInterrupt
            return original(*args)

        return method

    with monkeypatch.context() as patched:
        for owner, method in (
            (world.store, "put"),
            (world.tracker, "register"),
            (world.tracker, "set_alias"),
            (world.service, "serving"),
        ):
            patched.setattr(owner, method, killing(getattr(owner, method)))
        with pytest.raises(KeyboardInterrupt):
            promote(world)
    champion = world.tracker.alias(MODEL, "champion")
    assert champion is None or champion.number == 1, "the champion is what it was"

    assert promote(world).outcome == "promoted"
    assert aliases(world) == {"champion": 2, "previous": 1}
    assert [version.number for version in world.tracker.versions(MODEL)] == [1, 2]


def test_a_refusal_changes_nothing_but_leaves_evidence(world: World) -> None:
    result = promote(world, min_gain=0.5)
    assert result.outcome == "refused"
    assert result.champion.digest == world.inputs.base.model.digest
    assert aliases(world) == {"champion": 1, "previous": None}
    assert [version.number for version in world.tracker.versions(MODEL)] == [1]
    assert world.service.events == []
    assert read_evidence(world.out)["decision"]["promote"] is False


@pytest.mark.parametrize(
    ("right", "share", "passes"),
    [(4, 0.75, True), (3, 0.75, True), (2, 0.75, False), (3, 1.0, False), (0, 0.0, True)],
)
def test_the_service_must_answer_its_golden_pictures(world: World, right: int, share: float, passes: bool) -> None:
    asked: list[str] = []

    def knows(entity: str) -> bool:
        asked.append(entity)
        return len(asked) <= right

    world.service.knows = knows
    if passes:
        assert promote(world, golden=4, golden_share=share).outcome == "promoted"
    else:
        with pytest.raises(GateRefused, match=f"answers {right} of 4 golden pictures right"):
            promote(world, golden=4, golden_share=share)
        assert aliases(world) == {"champion": 1, "previous": None}
    assert len(asked) == 4


@pytest.mark.parametrize("fault", [InfrastructureError("no server answers."), InputError("answered 413.")])
def test_a_service_that_fails_is_the_infrastructures_fault(world: World, fault: Exception) -> None:
    world.service.fault = fault
    with pytest.raises(InfrastructureError, match=f"no prediction for a golden picture: {fault}"):
        promote(world)
    assert aliases(world) == {"champion": 1, "previous": None}
    world.service.fault = None
    assert promote(world).champion.number == 2


def test_a_champion_of_an_earlier_run_is_scored_on_demand(world: World) -> None:
    promote(world)
    sft, cot_sft, grpo = world.inputs.arms
    world.inputs = dataclasses.replace(world.inputs, arms=[sft, grpo])
    result = promote(world)
    assert world.evaluated == [cot_sft.model.digest], "the champion, which this run did not score"
    assert (result.outcome, result.candidate, result.champion.number) == ("promoted", "grpo", 3)
    assert "made again: its inputs changed" in world.log.getvalue()
    assert aliases(world) == {"champion": 3, "previous": 2}


def test_validation_chooses_and_the_first_of_equals_wins(world: World, evaluate: Evaluate) -> None:
    sft, cot_sft, grpo = world.inputs.arms
    level = dataclasses.replace(grpo, validation=evaluate("level/validation", range(140)))
    assert best([sft, cot_sft, level]) is cot_sft
    assert best([sft, level, cot_sft]) is level
    with pytest.raises(InputError, match="no candidate"):
        best([])


def test_a_damaged_candidate_is_never_served(world: World) -> None:
    weights = world.store.get(world.inputs.arms[COT_SFT].model) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"something else")
    with pytest.raises(InfrastructureError, match="damaged"):
        promote(world)
    assert world.service.events == []
    assert aliases(world)["champion"] == 1
