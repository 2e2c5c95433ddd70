"""What a dataset holds, counted: card.json."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepperception.grounding import Sample

_COUNTERS = ("categories", "targets", "candidates", "layouts", "licences", "box_origins")


@dataclass
class FileCounts:
    """What one file's rows hold."""

    rows: int = 0
    seen: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    candidates: Counter[int] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    box_origins: Counter[str] = field(default_factory=Counter)
    photos: set[str] = field(default_factory=set)

    def add(self, sample: Sample, layout: str) -> None:
        self.rows += 1
        self.seen += sample.seen
        self.categories[sample.category] += 1
        self.targets[sample.entity] += 1
        self.candidates[len(sample.objects)] += 1
        self.layouts[layout] += 1
        self.licences.update(source.licence for source in sample.sources)
        self.box_origins.update(sample.box_origins)
        self.photos.update(source.id for source in sample.sources)

    def update(self, other: FileCounts) -> None:
        """Add what another part of the file holds."""
        self.rows += other.rows
        self.seen += other.seen
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        self.photos |= other.photos

    def to_json(self) -> dict[str, Any]:
        """Everything, for `from_json`."""
        counters = {name: list(getattr(self, name).items()) for name in _COUNTERS}
        return {"rows": self.rows, "seen": self.seen, "photos": sorted(self.photos), **counters}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> FileCounts:
        counters: dict[str, Any] = {name: Counter(dict(content[name])) for name in _COUNTERS}
        return cls(rows=content["rows"], seen=content["seen"], photos=set(content["photos"]), **counters)

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "seen": self.seen,
            "unseen": self.rows - self.seen,
            "photos_used": len(self.photos),
            "categories": _sorted(self.categories),
            "targets": _sorted(self.targets),
            "candidates": _sorted(self.candidates),
            "layouts": _sorted(self.layouts),
            "licences": _sorted(self.licences),
            "box_origins": _sorted(self.box_origins),
        }


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write card.json; the same counts give the same bytes."""
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sorted(counts: Counter[Any]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}
