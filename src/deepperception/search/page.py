"""The page of a search: one HTML file that needs nothing beside it. The same choice gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LABELS = {"base": "base", "sft": "direct SFT", "cot_sft": "CoT-SFT", "grpo": "GRPO"}
"""What the models are called for people."""
_WIDTH = 640  # of a strip of dots, in the page's own units
_STEP = 0.05


def selection_page(name: str, content: Mapping[str, Any]) -> str:
    """Of a table of trials (`select.table`), before anything is known of the test."""
    return _rendered("selection.html.j2", name=name, table=content, labels=LABELS, strip=_strip(content["trials"]))


def replication_page(name: str, content: Mapping[str, Any]) -> str:
    """Of the chosen settings' scores over their seeds, on test."""
    return _rendered("replication.html.j2", name=name, told=content, labels=LABELS)


def _strip(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row for each settings, a dot for each trial, on an axis that is just as wide as the scores need."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for trial in trials:
        rows.setdefault(trial["label"], []).append(trial)
    values = [trial["accuracy"] for trial in trials]
    low = max(0.0, _STEP * int((min(values) - 0.02) / _STEP))
    high = min(1.0, _STEP * (int((max(values) + 0.02) / _STEP) + 1))
    count = round((high - low) / _STEP)

    def x(value: float) -> float:
        return round(_WIDTH * (value - low) / (high - low), 1)

    every = max(1, count // 8)
    ticks = [low + _STEP * number for number in range(0, count + 1, every)]
    return {
        "width": _WIDTH,
        "ticks": [{"x": x(tick), "text": f"{100 * tick:.0f} %"} for tick in ticks],
        "rows": [
            {
                "label": label,
                "mean": x(sum(trial["accuracy"] for trial in group) / len(group)),
                "dots": [{"x": x(trial["accuracy"]), "name": trial["name"], "seed": trial["seed"]} for trial in group],
            }
            for label, group in rows.items()
        ],
    }


def _rendered(template: str, **content: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Settings are a user's text: everything is escaped.
    environment = Environment(
        loader=PackageLoader("deepperception.search", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
