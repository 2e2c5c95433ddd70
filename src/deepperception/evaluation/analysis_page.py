"""The page of an analysis: analysis.html, with its charts and pictures within."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepperception.artifacts.disk import write_text
from deepperception.evaluation.charts import interval_chart
from deepperception.evaluation.html import data_uri, page_template
from deepperception.evaluation.probes import Probes

PAGE = "analysis.html"
_SHOWN = 8


def write_analysis_page(found: Mapping[str, Any], benchmark: Path, folder: Path) -> None:
    """Write the page of what `analysis.run` found; sections without findings are left out."""
    charts = {
        kind: interval_chart(_scores(groups), order=list(groups))
        for kind, groups in found["breakdown"].items()
        if groups
    }
    if "knowledge" in found:
        levels = {
            f"{name} ({of['entities']})": of["grounding"]
            for name, of in [*found["knowledge"]["levels"].items(), *_both(found["knowledge"])]
            if of["entities"]
        }
        charts["knowledge"] = interval_chart(_scores(levels), order=list(levels))
    if "divergence" in found:
        parts = found["divergence"]["parts"]
        charts["divergence"] = interval_chart(_divergences(parts), order=list(parts), unit="nats a token")
    page = page_template("analysis.html.j2").render(
        found=found,
        **{part: found.get(part) for part in ("knowledge", "recognition", "divergence", "probed")},
        charts={name: data_uri(chart) for name, chart in charts.items()},
        examples=_examples(benchmark) if "knowledge" in found else [],
    )
    write_text(folder / PAGE, page)


def _both(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("high: the first three", found["high"]), ("low: the last two", found["low"])]


def _scores(groups: Mapping[str, Any]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Series -> group -> (value, low, high), of those with cases."""
    return {
        split: {
            name: (of[split]["accuracy"], *of[split]["accuracy_ci95"])
            for name, of in groups.items()
            if of[split]["cases"]
        }
        for split in ("seen", "unseen")
    }


def _divergences(parts: Mapping[str, Any]) -> dict[str, dict[str, tuple[float, float, float]]]:
    return {
        label: {
            part: (of[estimate]["mean"], *of[estimate]["ci95"]) for part, of in parts.items() if of[estimate]["ci95"]
        }
        for label, estimate in (("over the whole vocabulary", "exact"), ("k3, of the token written", "k3"))
    }


def _examples(benchmark: Path) -> list[dict[str, Any]]:
    """The first pictures that were probed, one of each category in turn, with their questions."""
    taken: dict[str, dict[str, Any]] = {}
    for probe in Probes(benchmark).of_knowledge(1):
        if probe.category not in taken and len(taken) < _SHOWN:
            picture = data_uri(_enlarged(probe.image))
            taken[probe.category] = {"question": probe.question, "answer": probe.answer, "picture": picture}
        if len(taken) == _SHOWN:
            break
    return list(taken.values())


def _enlarged(content: bytes, side: int = 220) -> bytes:
    from PIL import Image

    from deepperception.inference.images import open_image

    image = open_image(content)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()
