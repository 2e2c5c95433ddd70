"""The end of a run: its scores, the champion, and one prediction asked of the champion's service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepperception.artifacts import Ref, open_store, read_cases, read_metrics, read_rows
from deepperception.artifacts.disk import replacing, write_text
from deepperception.grounding import Sample
from deepperception.infra import Infra
from deepperception.platform.local_server import LocalServer
from deepperception.platform.search_stages import OVER_SEEDS, PAGE, TABLE
from deepperception.platform.stages import ARMS
from deepperception.platform.steps import RESULTS
from deepperception.recipe import Recipe
from deepperception.serving.predict import predict
from deepperception.tracking import MODEL

SUMMARY = "summary.json"
_SPLITS = ("seen", "unseen", "all")


def summarize(recipe: Recipe, infra: Infra, out: Path, say: Callable[[str], None], started: float) -> dict[str, Any]:
    """Write and return `out`/summary.json. `started`: the monotonic clock when this run, or this part of it, began.

    The same recipe and seed give the same scores, digests and prediction; times, places and MLflow's ids are their own.
    """
    metrics = {arm: read_metrics(infra.work_dir / f"evaluation-{arm}-test") for arm in ARMS}
    over = read_over_seeds(infra) if recipe.search else None
    decision = _metadata(infra, "promotion", "decision")
    champion = decision["champion"]
    folder = open_store(infra.store, infra.s3).get(Ref(champion["uri"], champion["digest"]))
    say("prediction: loading the champion into its server")
    prediction = _predict(infra, decision["candidate"], folder, out)
    summary = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "stages": over["stages"]
        if over
        else {arm: {split: _score(scores, split) for split in _SPLITS} for arm, scores in metrics.items()},
        "seeds": len(over["seeds"]) if over else 1,
        "cases": metrics["base"]["benchmark"]["cases"],
        "wall_s": round(time.monotonic() - started, 1),
        "mlflow": {
            "tracking_uri": infra.tracking_uri,
            "experiment": infra.experiment,
            "run_id": decision["pipeline_run_id"],
            "model": MODEL,
        },
        "promoted": {
            "path": str(folder),
            "uri": champion["uri"],
            "digest": champion["digest"],
            "version": champion["number"],
            "outcome": decision["outcome"],
            "reason": decision["reason"],
        },
        "prediction": prediction,
        "report": str(infra.work_dir / "report" / "report.html"),
        **({"search": _search(infra, over)} if over else {}),
    }
    write_text(out / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def read_over_seeds(infra: Infra) -> dict[str, Any]:
    """What the last step of a search wrote: the chosen settings' scores on test, over their seeds."""
    content: dict[str, Any] = json.loads((infra.work_dir / "replication" / OVER_SEEDS).read_text(encoding="utf-8"))
    return content


def _search(infra: Infra, over: dict[str, Any]) -> dict[str, Any]:
    """What was tried, what validation chose, and where to look at it."""
    trials = json.loads((infra.work_dir / "selection" / TABLE).read_text(encoding="utf-8"))
    chosen = next(trial for trial in trials["trials"] if trial["name"] == trials["chosen"])
    return {
        "trials": len(trials["trials"]),
        "chosen": {key: chosen[key] for key in ("name", "seed", "settings")},
        "arm": trials["arm"],
        "validation_accuracy": trials["accuracy"],
        "seeds": over["seeds"],
        "page": str(infra.work_dir / "selection" / PAGE),
        "over_seeds": str(infra.work_dir / "replication" / PAGE),
    }


def metrics_by_label(infra: Infra) -> dict[str, Any]:
    """The models' test metrics by what tables call them."""
    return {label: read_metrics(infra.work_dir / f"evaluation-{arm}-test") for arm, label in ARMS.items()}


def _metadata(infra: Infra, stage: str, output: str) -> dict[str, Any]:
    results = json.loads((infra.work_dir / RESULTS / f"{stage}.json").read_text(encoding="utf-8"))
    metadata: dict[str, Any] = results[output]["metadata"]
    return metadata


def _score(metrics: dict[str, Any], split: str) -> dict[str, Any]:
    official = metrics["official"][split]
    return {"accuracy": official["accuracy"], "ci95": official["accuracy_ci95"], "cases": official["cases"]}


def _predict(infra: Infra, candidate: str, model: Path, out: Path) -> dict[str, Any]:
    """Ask the served champion for one picture of the test split, and draw what it says."""
    sample = _picture(infra, candidate)
    question, answer = out / "prediction" / f"question.{_kind(sample.image)}", out / "prediction" / "answer.png"
    with replacing(question) as temporary:
        temporary.write_bytes(sample.image)
    with LocalServer().serving(model) as url:
        found = predict(url, question, sample.entity, draw=answer)
    return {
        "protocol": f"POST /v1/models/{MODEL}:predict",
        "question_id": sample.question_id,
        "entity": sample.entity,
        "target_1000": list(sample.target.as_tuple()),
        **found.to_json(),
        "picture": str(question),
        "drawn": str(answer),
    }


def _kind(image: bytes) -> str:
    return "png" if image.startswith(b"\x89PNG") else "jpg"


def _picture(infra: Infra, candidate: str) -> Sample:
    """The first test case of an unseen category that the run's best model got right; else simply the first.

    Right by both parsers: the service reads as the tolerant one, and the official one may find a box in the reasoning.
    """
    cases = read_cases(infra.work_dir / f"evaluation-{candidate}-test")
    liked = sorted(cases, key=lambda case: (not (case.correct and case.robust_correct), case.seen))[0]
    samples = read_rows(infra.work_dir / "synthesis" / "test.parquet")
    return next(sample for sample in samples if sample.question_id == liked.question_id)


def tell(summary: dict[str, Any], out: Path) -> str:
    """What to look at, after the table."""
    prediction, promoted = summary["prediction"], summary["promoted"]
    said = f"box {prediction['box']}, reasoning: {prediction['reasoning']}"
    if prediction["box"] is None:
        said = f"no box in its reply: {prediction['text'] or '(empty)'}"
    search = summary.get("search")
    trials = (
        [
            f"search      {search['trials']} trials; validation chose {search['chosen']['name']}: {search['page']}",
            f"            over its {len(search['seeds'])} seeds, on test: {search['over_seeds']}",
        ]
        if search
        else []
    )
    return "\n".join(
        [
            *trials,
            f"promotion   {promoted['outcome']}: {promoted['reason']}; version {promoted['version']} is champion",
            f'prediction  {prediction["protocol"]} {{... "entity": "{prediction["entity"]}"}}',
            f"            {said}",
            f"            drawn on {prediction['drawn']}",
            f"report      {summary['report']}",
            f"summary     {out / SUMMARY}",
            f"time        {summary['wall_s']:.0f} s",
            f"serve it    deepperception serve --model {promoted['path']}",
        ]
    )
