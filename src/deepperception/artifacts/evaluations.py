"""Evaluations: the cases behind a score, and the alignment of two models' cases for a paired test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deepperception.artifacts.disk import replacing
from deepperception.errors import InputError

CASES = "cases.jsonl"
METRICS = "metrics.json"
IOU_THRESHOLD = 0.5
"""A case is right from here on (paper, section 1: accuracy at 0.5)."""

Corners = tuple[float, float, float, float]
CaseT = TypeVar("CaseT")


@dataclass(frozen=True, slots=True)
class Reply:
    """One more reply to a question, by the official parser."""

    text: str
    official_iou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question, what the model said, and how both parsers read it. Boxes in the 0-1000 frame."""

    question_id: str
    category: str
    seen: bool
    entity: str
    target: Corners
    text: str
    official: Corners
    """As the paper's evaluator reads it: (0, 0, 0, 0) where it reads nothing, and possibly reversed."""
    official_iou: float
    robust: Corners | None
    robust_iou: float
    form: str
    """Which of the tolerant parser's forms matched."""
    others: tuple[Reply, ...] = ()
    """Where several replies were drawn: all but the first."""
    description: str | None = None
    """What the model said before, where it was asked for a description first."""

    @property
    def correct(self) -> bool:
        """By the official parser, which is what gates and tables go by."""
        return self.official_iou >= IOU_THRESHOLD

    @property
    def right_replies(self) -> int:
        """How many of all replies are right, by the official parser."""
        return self.correct + sum(other.official_iou >= IOU_THRESHOLD for other in self.others)

    @property
    def robust_correct(self) -> bool:
        return self.robust_iou >= IOU_THRESHOLD


_CASE_FIELDS = tuple(field.name for field in fields(Case))
_JSON = json.JSONEncoder(ensure_ascii=False)


class Scored(Protocol):
    """As much of a case, of boxes or of letters, as a comparison needs."""

    @property
    def question_id(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def seen(self) -> bool: ...
    @property
    def correct(self) -> bool: ...


@dataclass(frozen=True)
class Paired:
    """Two models' cases of one benchmark, row by row: `a[i]` and `b[i]` answer the same question."""

    a: Sequence[Scored]
    b: Sequence[Scored]

    @property
    def right_a(self) -> list[bool]:
        """Whether `a` got each case right, by the official parser."""
        return [case.correct for case in self.a]

    @property
    def right_b(self) -> list[bool]:
        return [case.correct for case in self.b]

    @property
    def only_right(self) -> tuple[int, int]:
        """How many cases only `a`, and only `b`, got right: what McNemar's test goes by."""
        both = list(zip(self.right_a, self.right_b, strict=True))
        return sum(a > b for a, b in both), sum(b > a for a, b in both)

    def where(self, *, seen: bool) -> Paired:
        """Only the cases of seen, or of unseen, categories."""
        kept = [(a, b) for a, b in zip(self.a, self.b, strict=True) if a.seen == seen]
        return Paired([a for a, _ in kept], [b for _, b in kept])

    def __len__(self) -> int:
        return len(self.a)


def write_cases(folder: Path, cases: Iterable[Case]) -> int:
    """Write `cases.jsonl` as the cases come; returns how many."""
    written = 0
    with replacing(folder / CASES) as temporary, temporary.open("w", encoding="utf-8") as file:
        for case in cases:
            file.write(_JSON.encode(_row(case)) + "\n")
            written += 1
    return written


def _row(case: Case) -> dict[str, Any]:
    row = {name: getattr(case, name) for name in _CASE_FIELDS}  # dataclasses.asdict takes ten times as long
    row["others"] = [asdict(other) for other in case.others]
    return row


def read_cases(folder: Path) -> list[Case]:
    """The cases of an evaluation, in the benchmark's order; InputError names the file and the line."""
    return read_lines(folder, _case)


def read_lines(folder: Path, case_of: Callable[[Any], CaseT]) -> list[CaseT]:
    """A case for each line of `cases.jsonl`; `case_of` raises ValueError, TypeError or KeyError for what is none."""
    path = folder / CASES
    cases = []
    # Not splitlines(): a completion may hold line separators that JSON leaves as they are.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line:
            continue
        try:
            cases.append(case_of(json.loads(line)))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: this is no case ({error}); make the evaluation again.") from None
    return cases


def read_metrics(folder: Path) -> dict[str, Any]:
    """The evaluation's `metrics.json`."""
    path = folder / METRICS
    try:
        metrics = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not valid JSON ({error}); make the evaluation again.") from None
    if not isinstance(metrics, dict) or not {"benchmark", "backend", "official"} <= metrics.keys():
        raise InputError(f"{path}: these are not an evaluation's metrics; make the evaluation again.")
    return metrics


def paired(a: Path, b: Path, *, anyway: bool = False) -> Paired:
    """Align two evaluation folders case by case.

    InputError where they cannot be compared: another benchmark, engine, version, dtype or decoding would be measured
    along with the model, unless `anyway`. The prompt may differ, because it is each model's own.
    """
    if not anyway:
        _refuse_unlike(a, b)
    cases_a, cases_b = _scored(a), _scored(b)
    by_id = {case.question_id: case for case in cases_b}
    ids_a = {case.question_id for case in cases_a}
    if ids_a != by_id.keys() or not len(ids_a) == len(cases_a) == len(cases_b):
        raise InputError(f"{a} and {b} do not answer the same questions once each; evaluate both models again.")
    if not cases_a:
        raise InputError(f"{a} and {b} hold no cases; evaluate both models again.")
    return Paired(cases_a, [by_id[case.question_id] for case in cases_a])


def _scored(folder: Path) -> Sequence[Scored]:
    from deepperception.artifacts.choice_cases import is_of_choices, read_choice_cases

    return read_choice_cases(folder) if is_of_choices(folder) else read_cases(folder)


def _refuse_unlike(a: Path, b: Path) -> None:
    metrics_a, metrics_b = read_metrics(a), read_metrics(b)
    for part, key in (
        ("benchmark", "digest"),
        ("backend", "engine"),
        ("backend", "version"),
        ("backend", "dtype"),
        ("backend", "decoding"),
    ):
        value_a, value_b = metrics_a[part].get(key), metrics_b[part].get(key)
        if value_a != value_b:
            raise InputError(
                f"{a} and {b} cannot be compared: their {part} differs in {key} ({value_a} and {value_b}); "
                "score both models on the same file with the same engine and settings, or compare them --anyway."
            )


def _case(row: Any) -> Case:
    if not isinstance(row, dict):
        raise TypeError(f"expected an object, found {type(row).__name__}")
    unknown = row.keys() - set(_CASE_FIELDS)
    if unknown:
        raise ValueError(f"unknown key '{min(unknown)}'")
    robust = row["robust"]
    boxes = {"target": _corners(row["target"]), "official": _corners(row["official"])}
    others = tuple(Reply(**other) for other in row.get("others", ()))
    return Case(**{**row, **boxes, "robust": None if robust is None else _corners(robust), "others": others})


def _corners(values: Sequence[float]) -> Corners:
    x1, y1, x2, y2 = values
    return (x1, y1, x2, y2)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path.parent}: this is no evaluation (it has no {path.name}); give a folder that evaluate wrote."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); make the evaluation again.") from None
