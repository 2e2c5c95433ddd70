"""The report of a run: one HTML file that needs nothing beside it, and its pictures as PNG files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.artifacts.curves import read_curves
from deepperception.artifacts.datasets import read_rows
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.evaluations import read_cases, read_metrics
from deepperception.artifacts.manifest import MANIFEST, Manifest, read_manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.evaluation.charts import Curve, accuracy_chart, category_chart, curve_chart
from deepperception.evaluation.gallery import Card, cards, choose
from deepperception.evaluation.html import data_uri, page_template
from deepperception.evaluation.mistakes import KINDS, Tally
from deepperception.evaluation.published import published_for
from deepperception.evaluation.sheet import prediction_sheet
from deepperception.evaluation.table import SPLITS, percent
from deepperception.grounding import Sample

REPORT = "report.html"
PICTURES = "predictions"
_CONFUSIONS = 12
_REWARDS = {"reward": "total", "rewards/iou/mean": "box overlap", "rewards/format/mean": "format"}


@dataclass(frozen=True)
class Arm:
    """One model of the run, by what it is called in the report."""

    label: str
    evaluation: Path
    """Of the split that is reported on."""
    model: Path | None = None
    """Its folder; curves are read from evidence/curves.jsonl where it has one."""


@dataclass(frozen=True)
class Promotion:
    """How the gate decided; `evidence` is the content of decision.json."""

    outcome: str
    reason: str
    candidate: str
    version: int | None = None
    digest: str | None = None
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Inputs:
    """What a report is made of. `arms` come in the order of the recipe; the others are held against the first."""

    name: str
    seed: int
    arms: Sequence[Arm]
    shown: str
    """Label of the arm whose predictions are drawn."""
    benchmark: Path
    """The parquet file that the evaluations were made on."""
    dataset: Path | None = None
    promotion: Promotion | None = None


def run(inputs: Inputs, out: Path, context: Context) -> Manifest:
    """Writes report.html, its charts as PNG files, predictions.png and predictions/*.png to `out`."""

    def build(folder: Path) -> Outcome:
        shown = write_report(inputs, folder)
        context.progress.say(f"{len(shown)} predictions drawn, {len(inputs.arms)} models compared")
        return Outcome(counts={"models": len(inputs.arms), "predictions": len(shown)})

    return once(
        out,
        kind="report",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs=context.inputs,
        progress=context.progress,
        build=build,
    )


def write_report(inputs: Inputs, folder: Path) -> list[Card]:
    """Fills the folder; returns what was drawn. The same inputs give the same bytes."""
    metrics = {arm.label: read_metrics(arm.evaluation) for arm in inputs.arms}
    official = {label: scores["official"] for label, scores in metrics.items()}
    shown, tallies, unseen = _read_cases(inputs)
    pictures = {"accuracy.png": accuracy_chart(official), "categories.png": category_chart(official, unseen)}
    pictures |= _curve_charts(inputs.arms)
    pictures["predictions.png"] = prediction_sheet(shown)
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    (folder / PICTURES).mkdir()
    for number, card in enumerate(shown, start=1):
        (folder / PICTURES / _file_name(number, card)).write_bytes(card.png)
    page = page_template("report.html.j2").render(
        name=inputs.name,
        seed=inputs.seed,
        metrics=metrics,
        rows=[_row(arm, metrics[arm.label]) for arm in inputs.arms],
        splits=SPLITS,
        baseline=inputs.arms[0].label,
        shown=inputs.shown,
        pictures={name: data_uri(content) for name, content in pictures.items()},
        tallies=tallies,
        kinds=KINDS,
        confusions=tallies[inputs.shown].confusions(_CONFUSIONS),
        published=published_for(metrics[inputs.shown]),
        cards=[{"card": card, "picture": data_uri(card.png)} for card in shown],
        dataset=_dataset(inputs.dataset),
        training=[_training(arm) for arm in inputs.arms if arm.model],
        promotion=inputs.promotion,
    )
    write_text(folder / REPORT, page)
    return shown


def _read_cases(inputs: Inputs) -> tuple[list[Card], dict[str, Tally], set[str]]:
    """What is drawn, each model's mistakes, and the unseen categories.

    The benchmark is read once; only the pictures that are shown are kept.
    """
    found = {arm.label: {case.question_id: case for case in read_cases(arm.evaluation)} for arm in inputs.arms}
    if inputs.shown not in found:
        raise InputError(f"the report is to show '{inputs.shown}', which is none of {', '.join(found)}.")
    chosen = choose(list(found[inputs.shown].values()))
    wanted = {case.question_id for case in chosen}
    kept: dict[str, Sample] = {}
    tallies = {label: Tally() for label in found}
    for sample in read_rows(inputs.benchmark):
        if sample.question_id in wanted:
            kept[sample.question_id] = sample
        for label, cases in found.items():
            if sample.question_id in cases:
                tallies[label].add(cases[sample.question_id], sample.objects)
    unseen = {case.category for case in found[inputs.shown].values() if not case.seen}
    return cards(chosen, kept, found), tallies, unseen


def _curve_charts(arms: Sequence[Arm]) -> dict[str, bytes]:
    """Losses of imitation in one chart, rewards in another: a policy gradient's loss is no measure of anything."""
    losses: list[Curve] = []
    charts: dict[str, bytes] = {}
    for arm in arms:
        points = read_curves(arm.model) if arm.model else []
        rewards = [_curve(points, key, label) for key, label in _REWARDS.items() if any(key in p for p in points)]
        if rewards:
            charts["reward.png"] = curve_chart(
                rewards, title=f"{arm.label}: reward", unit="mean over the step's replies"
            )
        elif any("loss" in point for point in points):
            losses.append(_curve(points, "loss", arm.label))
    if losses:
        loss = curve_chart(losses, title="Supervised loss", unit="nats a token, on the reply only")
        charts = {"loss.png": loss, **charts}
    return charts


def _curve(points: Sequence[Mapping[str, Any]], key: str, label: str) -> Curve:
    known = [point for point in points if key in point]
    return Curve(label, [point["step"] for point in known], [point[key] for point in known])


def _row(arm: Arm, metrics: Mapping[str, Any]) -> dict[str, Any]:
    official = metrics["official"]
    return {
        "label": arm.label,
        "percent": {split: percent(official[split]) for split in SPLITS},
        "mean_iou": official["all"]["mean_iou"],
        "unread": metrics["robust"]["forms"].get("none", 0),
        "tolerant": percent(metrics["robust"]["all"]),
        "backend": metrics["backend"],
        "digest": read_manifest(arm.model).digest if arm.model and (arm.model / MANIFEST).is_file() else None,
    }


def _training(arm: Arm) -> dict[str, Any]:
    assert arm.model is not None
    manifest = read_manifest(arm.model) if (arm.model / MANIFEST).is_file() else None
    return {"label": arm.label, "counts": manifest.counts if manifest else {}}


def _dataset(folder: Path | None) -> dict[str, Any] | None:
    if folder is None or not (folder / "card.json").is_file():
        return None
    card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return card


def _file_name(number: int, card: Card) -> str:
    slug = re.sub(r"\W+", "-", card.case.entity.lower(), flags=re.ASCII).strip("-") or "entity"
    return f"{number:02d}-{'right' if card.case.correct else 'wrong'}-{slug[:40]}.png"
