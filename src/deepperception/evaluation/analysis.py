"""The paper's analyses of one evaluation: what the accuracy depends on, what the model knows, how far it has moved."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.artifacts.checkpoints import check_checkpoint, read_interface
from deepperception.artifacts.choice_cases import ChoiceCase, is_of_choices
from deepperception.artifacts.datasets import sound_rows
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.evaluations import Case, read_cases, read_metrics
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.evaluation.analysis_page import write_analysis_page
from deepperception.evaluation.breakdown import breakdowns
from deepperception.evaluation.choices import ask_choices, manner_for_choices, score_choice
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.divergence import divergence
from deepperception.evaluation.gallery import choose
from deepperception.evaluation.knowledge import knowledge, recognition_against_grounding
from deepperception.evaluation.probes import Probes
from deepperception.grounding import ChoiceSample, Sample

ANALYSIS = "analysis.json"
_ABOUT = ("file", "digest", "cases")
_FEWEST_LETTERS = 0.5


@dataclass(frozen=True)
class Inputs:
    """What is looked at. Each analysis is made where its models are given."""

    evaluation: Path
    benchmark: Path
    """The file that the evaluation was made on."""
    knows: Path | None = None
    """The checkpoint whose knowledge is probed. The paper probes the base."""
    later: Path | None = None
    before: Path | None = None
    """Two stages' checkpoints, whose divergence is measured."""
    seen: Collection[str] | None = None


@dataclass(frozen=True)
class Extent:
    """How much is asked."""

    pictures: int = 50
    """Probed at most, an entity. Paper (v3): 50."""
    replies: int = 200
    """Compared at most, of the later stage."""
    batch_size: int = 64


def run(inputs: Inputs, extent: Extent, out: Path, context: Context) -> Manifest:
    """Writes analysis.json and analysis.html to `out`, and the probes' cases as JSON lines."""
    if is_of_choices(inputs.evaluation):
        raise InputError(f"{inputs.evaluation}: this is an evaluation of multiple choice; give one of boxes.")
    if (inputs.later is None) != (inputs.before is None):
        raise InputError("the divergence is between two stages; give both --model and --before, or neither.")
    for folder in (inputs.knows, inputs.later, inputs.before):
        if folder is not None:
            check_checkpoint(folder)

    def build(folder: Path) -> Outcome:
        found = _analyses(inputs, extent, folder, context)
        write_text(folder / ANALYSIS, json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_analysis_page(found, inputs.benchmark, folder)
        return Outcome(counts={"cases": found["about"]["cases"]})

    asked = {**dataclasses.asdict(extent), "seen": None if inputs.seen is None else sorted(inputs.seen)}
    return once(
        out,
        kind="analysis",
        recipe_hash=json.dumps(asked, sort_keys=True),
        seed=context.seed,
        inputs=context.inputs,
        progress=context.progress,
        build=build,
    )


def _analyses(inputs: Inputs, extent: Extent, folder: Path, context: Context) -> dict[str, Any]:
    metrics = read_metrics(inputs.evaluation)
    cases = {case.question_id: case for case in read_cases(inputs.evaluation)}
    found: dict[str, Any] = {
        "about": {**{key: metrics["benchmark"][key] for key in _ABOUT}, "backend": metrics["backend"]},
        "breakdown": breakdowns(cases, inputs.benchmark, seen=inputs.seen),
    }
    if not any(found["breakdown"]["box_size"].values()):
        raise InputError(
            f"{inputs.benchmark}: none of its questions is in {inputs.evaluation}; give its own benchmark."
        )
    if inputs.knows is not None:
        found |= _knowledge(inputs, inputs.knows, extent, cases, folder, context)
    if inputs.later is not None and inputs.before is not None:
        found["divergence"] = _divergence(inputs, inputs.later, inputs.before, extent, cases, context)
    return found


def _knowledge(
    inputs: Inputs, model: Path, extent: Extent, cases: Mapping[str, Case], folder: Path, context: Context
) -> dict[str, Any]:
    from deepperception.inference.transformers_engine import TransformersEngine

    probes = Probes(inputs.benchmark, seed=context.seed, seen=inputs.seen)
    interface = read_interface(model)
    manner = manner_for_choices(EvaluationConfig(), interface)
    engine = TransformersEngine(model, max_pixels=interface.max_pixels, batch_size=extent.batch_size)

    def asked(name: str, questions: Iterator[ChoiceSample]) -> list[ChoiceCase]:
        listed = list(questions)
        with context.progress.track(len(listed), name) as bar:
            scored = []
            for row, reply in ask_choices(engine, manner, listed, inputs.benchmark):
                scored.append(score_choice(row, reply))
                bar.advance()
        lines = (json.dumps(dataclasses.asdict(case), ensure_ascii=False) for case in scored)
        write_text(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
        return scored

    known = knowledge(asked("knowledge", probes.of_knowledge(extent.pictures)), cases.values())
    recognised = recognition_against_grounding(asked("recognition", probes.of_recognition()), cases)
    for name, part in (("knowledge", known), ("recognition", recognised)):
        part["left_out_categories"] = probes.left_out
        if part["no_letter"]["cases"] and part["no_letter"]["accuracy"] > _FEWEST_LETTERS:
            part["warning"] = (
                f"{100 * part['no_letter']['accuracy']:.0f} % of the replies hold no letter: "
                "this model was never taught to answer by letter, and the probe says little of what it knows"
            )
            context.progress.say(f"{name}: {part['warning']}")
    return {"knowledge": known, "recognition": recognised, "probed": {**engine.backend, **dataclasses.asdict(manner)}}


def _divergence(
    inputs: Inputs, later: Path, before: Path, extent: Extent, cases: Mapping[str, Case], context: Context
) -> dict[str, Any]:
    from deepperception.inference.teacher_forcing import TeacherForcing

    interface = read_interface(later)
    chosen = {case.question_id for case in choose(list(cases.values()), extent.replies)}
    return divergence(
        TeacherForcing(later, max_pixels=interface.max_pixels),
        TeacherForcing(before, max_pixels=interface.max_pixels),
        _rows_of(inputs, chosen),
        interface.prompt,
        max_new_tokens=interface.max_new_tokens,
        total=len(chosen),
        progress=context.progress,
    )


def _rows_of(inputs: Inputs, wanted: Collection[str]) -> Iterator[Sample]:
    return (row for row in sound_rows(inputs.benchmark, seen=inputs.seen) if row.question_id in wanted)


def told(found: Mapping[str, Any]) -> Sequence[str]:
    """The findings in a line each, for the terminal."""
    lines = []
    for kind, groups in found["breakdown"].items():
        parts = ", ".join(f"{name}: {_said(group['all'])}" for name, group in groups.items())
        lines.append(f"accuracy by {kind.replace('_', ' ')}: {parts or 'not known'}")
    if "knowledge" in found:
        levels = found["knowledge"]["levels"].items()
        counts = ", ".join(f"{name} {of['entities']}" for name, of in levels)
        lines.append(f"entities by knowledge: {counts}")
        lines.append(
            f"grounding where knowledge is high: {_said(found['knowledge']['high']['grounding']['all'])}; "
            f"low: {_said(found['knowledge']['low']['grounding']['all'])}"
        )
        four = ("both", "recognised_only", "grounded_only", "neither")
        parts = ", ".join(f"{name.replace('_', ' ')} {_said(found['recognition'][name])}" for name in four)
        lines.append(f"recognition against grounding: {parts}")
    if "divergence" in found:
        for part, of in itertools.islice(found["divergence"]["parts"].items(), 2):
            mean = of["exact"]["mean"]
            if mean is not None:
                low, high = of["exact"]["ci95"]
                lines.append(f"KL of {part} tokens: {mean:.4f} nats ({low:.4f}-{high:.4f}), {of['tokens']} tokens")
    return lines


def _said(score: Mapping[str, Any]) -> str:
    if not score["cases"]:
        return "no cases"
    low, high = score["accuracy_ci95"]
    return f"{100 * score['accuracy']:.1f} % ({100 * low:.1f}-{100 * high:.1f}, {score['cases']} cases)"
