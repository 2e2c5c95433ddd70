"""Labels that cannot be meant as they are written: found before any photo is read, told in one place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RESPELT = "was filed under another spelling of its label"
TWO_CATEGORIES = "is of an entity that stands in two categories"
LONELY = "is of the only entity of its category"

Label = tuple[str, str]
"""(category, entity)."""


@dataclass(frozen=True)
class Settled:
    """What became of every label. `faults` says in a sentence each what a user should mend."""

    labels: Mapping[Label, Label | None]
    """As it should have been written; None where no such photo can be used."""
    reasons: Mapping[Label, str]
    """Why a label was changed or dropped; labels in order are not in it."""
    faults: tuple[str, ...]


def settle(labels: Iterable[Label], place: str) -> Settled:
    """Check the labels of all photos, one for each photo; `place` is where an error says that they are.

    Spellings that differ in case or spaces alone are one name, the most frequent one (of equals, the first by
    alphabet). An entity in two categories, and one alone in its category, cannot be told from look-alikes.
    """
    counts = Counter(labels)
    faults: list[str] = []
    spelling = {kind: _spellings(counts, kind) for kind in (0, 1)}
    respelt = {label: (spelling[0][label[0]], spelling[1][label[1]]) for label in counts}
    for kind, word in ((0, "category"), (1, "entity")):
        faults += _spelling_faults(spelling[kind], word, place)
    categories: defaultdict[str, set[str]] = defaultdict(set)
    for category, entity in respelt.values():
        categories[entity].add(category)
    torn = {entity: sorted(found) for entity, found in categories.items() if len(found) > 1}
    for entity, found in sorted(torn.items()):
        names = " and ".join(f"'{name}'" for name in found)
        faults.append(f"{place}: the entity '{entity}' is in {len(found)} categories, {names}; keep it in one.")
    company: defaultdict[str, set[str]] = defaultdict(set)
    for category, entity in respelt.values():
        if entity not in torn:
            company[category].add(entity)
    lonely = {category: next(iter(found)) for category, found in company.items() if len(found) == 1}
    for category, entity in sorted(lonely.items()):
        faults.append(
            f"{place}: the category '{category}' has a single entity, '{entity}'; "
            "add photos of a second one to tell it from."
        )
    return _settled(respelt, torn, lonely, tuple(faults))


def _settled(
    respelt: Mapping[Label, Label], torn: Mapping[str, object], lonely: Mapping[str, str], faults: tuple[str, ...]
) -> Settled:
    labels: dict[Label, Label | None] = {}
    reasons: dict[Label, str] = {}
    for label, written in respelt.items():
        category, entity = written
        if entity in torn or category in lonely:
            labels[label] = None
            reasons[label] = TWO_CATEGORIES if entity in torn else LONELY
        else:
            labels[label] = written
            if written != label:
                reasons[label] = RESPELT
    return Settled(labels, reasons, faults)


def _spellings(counts: Mapping[Label, int], kind: int) -> dict[str, str]:
    """For every name as written, the spelling that most photos use."""
    votes: Counter[str] = Counter()
    for label, count in counts.items():
        votes[label[kind]] += count
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in votes:
        alike[" ".join(name.casefold().split())].append(name)
    chosen = {key: min(names, key=lambda name: (-votes[name], name)) for key, names in alike.items()}
    return {name: " ".join(chosen[key].split()) for key, names in alike.items() for name in names}


def _spelling_faults(spelling: Mapping[str, str], word: str, place: str) -> list[str]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, chosen in sorted(spelling.items()):
        if name != chosen:
            groups[chosen].append(name)
    return [
        f"{place}: the {word} '{chosen}' is also written {', '.join(repr(name) for name in names)}; write it one way."
        for chosen, names in groups.items()
    ]
