"""The report's charts, as PNG bytes: the same input gives the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#66788a", "#e4e9ef"
SPLIT_COLOURS = {"seen": "#3056d3", "unseen": "#f08c2e"}
LINE_COLOURS = ("#3056d3", "#f08c2e", "#0f9d8a", "#a33ea1", "#c92a2a", "#66788a")


@dataclass(frozen=True)
class Curve:
    """One quantity of one training run: `steps` rising, `values` of equal length, None where a step has none."""

    label: str
    steps: Sequence[int]
    values: Sequence[float]


def accuracy_chart(scores: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Grouped bars with 95 % intervals. `scores`: model label -> split ("seen", "unseen") -> a score of metrics.json.

    A split without a case in any model is left out.
    """
    splits = [s for s in SPLIT_COLOURS if any(score.get(s, {}).get("cases") for score in scores.values())]
    figure = _figure(9.0, 4.6)
    axes = figure.add_subplot()
    width = 0.8 / max(len(splits), 1)
    for place, split in enumerate(splits):
        xs = [index - 0.4 + width * (place + 0.5) for index in range(len(scores))]
        _bars(axes, xs, [score.get(split, {}) for score in scores.values()], width, split)
    axes.set_xticks(range(len(scores)), list(scores), fontsize=11.5, color=INK)
    axes.set_ylim(0, 1.06)  # room for the figure above a full bar
    axes.set_xlim(-0.6, len(scores) - 0.4)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0", "20", "40", "60", "80", "100 %"])
    axes.grid(axis="x", visible=False)
    _titled(axes, "Accuracy at IoU ≥ 0.5", "bars: share of cases right; whiskers: 95 % Wilson intervals")
    if splits:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1.02), ncols=2, frameon=False, fontsize=10.5)
    return _png(figure)


def category_chart(scores: Mapping[str, Mapping[str, Any]], unseen: Collection[str] = ()) -> bytes:
    """A row a category, a dot and its 95 % interval a model; the `unseen` categories come last and are marked.

    `scores`: model label -> one reading of metrics.json.
    """
    known = {name for score in scores.values() for name in score["categories"]}
    names = sorted(known, key=lambda name: (name in unseen, name))
    figure = _figure(9.0, 1.4 + 0.12 * len(names) * (len(scores) + 1))
    axes = figure.add_subplot()
    for place, ((label, score), colour) in enumerate(zip(scores.items(), _cycle(len(scores)), strict=True)):
        found = [(row, score["categories"][name]) for row, name in enumerate(names) if name in score["categories"]]
        ys = [row + 0.7 * ((place + 0.5) / len(scores) - 0.5) for row, _ in found]
        xs = [each["accuracy"] for _, each in found]
        spans = [each["accuracy_ci95"] for _, each in found]
        errors = [[x - low for x, (low, _) in zip(xs, spans, strict=True)]]
        errors.append([high - x for x, (_, high) in zip(xs, spans, strict=True)])
        bars: dict[str, Any] = {
            "fmt": "o",
            "color": colour,
            "markersize": 5,
            "elinewidth": 1.3,
            "capsize": 2,
            "clip_on": False,
        }
        axes.errorbar(xs, ys, xerr=[[max(e, 0.0) for e in side] for side in errors], label=label, **bars)
    marked = [f"{name} (unseen)" if name in unseen else name for name in names]
    axes.set_yticks(range(len(names)), marked, fontsize=10.5, color=INK)
    axes.set_yticks([row + 0.5 for row in range(len(names) - 1)], minor=True)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0", "20", "40", "60", "80", "100 %"])
    _titled(axes, "Accuracy by category", "dots: share of cases right; whiskers: 95 % Wilson intervals")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="y", which="minor", color=GRID, linewidth=1)
    axes.grid(axis="x", color=GRID, linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=2.4, ncols=4, frameon=False, fontsize=10)
    return _png(figure)


def interval_chart(
    series: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    order: Sequence[str],
    unit: str = "% of cases right",
) -> bytes:
    """Dots with 95 % intervals. `series`: label -> group -> (value, low, high); shares of 1 unless `unit` says else.

    Groups of `order` that no series has are left out, and so is a series without a group.
    """
    shown = {label: groups for label, groups in series.items() if groups}
    names = [name for name in order if any(name in groups for groups in shown.values())]
    figure = _figure(7.6, 1.3 + 0.24 * max(len(names), 1) * (len(shown) + 0.8))
    axes = figure.add_subplot()
    for place, ((label, groups), colour) in enumerate(zip(shown.items(), _cycle(len(shown)), strict=True)):
        ys = [names.index(name) + 0.6 * ((place + 0.5) / len(shown) - 0.5) for name in groups]
        xs = [value for value, _, _ in groups.values()]
        errors = [
            [max(value - low, 0.0) for value, low, _ in groups.values()],
            [max(high - value, 0.0) for value, _, high in groups.values()],
        ]
        bars: dict[str, Any] = {"fmt": "o", "markersize": 5, "elinewidth": 1.3, "capsize": 2, "clip_on": False}
        axes.errorbar(xs, ys, xerr=errors, color=SPLIT_COLOURS.get(label, colour), label=label, **bars)
    axes.set_yticks(range(len(names)), names, fontsize=10.5, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    if unit.startswith("%"):
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0", "20", "40", "60", "80", "100 %"])
    axes.set_xlabel(f"{unit}, with 95 % intervals", color=MUTED, fontsize=9.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=1)
    _framed(axes)
    axes.tick_params(length=0, colors=MUTED)
    if shown:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, frameon=False, fontsize=10)
    return _png(figure)


def curve_chart(curves: Sequence[Curve], *, title: str, unit: str) -> bytes:
    """Lines over training steps, each with its running mean in front of the raw values."""
    figure = _figure(6.4, 3.9)
    axes = figure.add_subplot()
    for curve, colour in zip(curves, _cycle(len(curves)), strict=True):
        axes.plot(curve.steps, curve.values, color=colour, alpha=0.22, linewidth=1.1)
        axes.plot(curve.steps, running_mean(curve.values), color=colour, linewidth=2.2, label=curve.label)
    axes.set_xlabel("training step", color=MUTED, fontsize=10)
    _titled(axes, title, unit)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=10)
    return _png(figure)


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over the last tenth of the run (at least 1 value) up to each step: no value from later steps leaks back."""
    window = max(1, len(values) // 10)
    return [
        sum(values[max(0, end - window) : end]) / len(values[max(0, end - window) : end])
        for end in range(1, len(values) + 1)
    ]


def _bars(axes: Axes, xs: Sequence[float], scores: Sequence[Mapping[str, Any]], width: float, split: str) -> None:
    heights = [score.get("accuracy") or 0.0 for score in scores]
    spans = [score["accuracy_ci95"] if score.get("cases") else (0.0, 0.0) for score in scores]
    below = [max(h - low, 0.0) for h, (low, _) in zip(heights, spans, strict=True)]
    above = [max(high - h, 0.0) for h, (_, high) in zip(heights, spans, strict=True)]
    cases = max((score.get("cases", 0) for score in scores), default=0)
    axes.bar(xs, heights, width * 0.92, color=SPLIT_COLOURS[split], label=f"{split} ({cases} cases)", zorder=2)
    whiskers: dict[str, Any] = {"ecolor": INK, "elinewidth": 1.3, "capsize": 4, "capthick": 1.3}
    axes.errorbar(xs, heights, yerr=[below, above], fmt="none", zorder=3, **whiskers)
    for x, height, rise in zip(xs, heights, above, strict=True):
        label = f"{100 * height:.1f}"
        axes.text(x, height + rise + 0.01, label, ha="center", va="bottom", fontsize=10, color=INK, weight="bold")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")


def _titled(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, weight="bold", color=INK, pad=24)
    above: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, 6), "textcoords": "offset points"}
    axes.annotate(subtitle, (0, 1), fontsize=9.5, color=MUTED, va="bottom", **above)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.tick_params(length=0, colors=MUTED, labelsize=10)
    _framed(axes)


def _framed(axes: Axes) -> None:
    """The line below alone, and no grid over the data."""
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def _cycle(count: int) -> list[str]:
    return [LINE_COLOURS[index % len(LINE_COLOURS)] for index in range(count)]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # No version of the drawing library inside: the same numbers give the same file.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
