"""What the registry says of versions: who serves, who served before, who is about to."""

from __future__ import annotations

from deepperception.errors import InputError
from deepperception.tracking import MODEL, Tracker, Version

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"


def current(tracker: Tracker) -> Version:
    """The champion; InputError where nothing was ever promoted."""
    champion = tracker.alias(MODEL, CHAMPION)
    if champion is None:
        raise InputError(f"{tracker.uri}: no version of {MODEL} is champion; run a recipe there first.")
    return champion


def numbers(tracker: Tracker) -> dict[str, int | None]:
    """The versions that hold the aliases champion and previous."""
    found = {alias: tracker.alias(MODEL, alias) for alias in (CHAMPION, PREVIOUS)}
    return {alias: version.number if version else None for alias, version in found.items()}


def propose(tracker: Tracker, number: int) -> None:
    """Say which version is to be champion next."""
    tracker.set_alias(MODEL, CANDIDATE, number)


def crown(tracker: Tracker, number: int, before: int) -> None:
    """Make the version champion, after `before`. Repeated after a kill anywhere in it, it ends the same."""
    settle(tracker, {CHAMPION: number, PREVIOUS: before})


def settle(tracker: Tracker, wanted: dict[str, int | None]) -> None:
    """Make the aliases what they are to be, and nobody candidate. Killed anywhere, it can be repeated.

    The champion's alias, which everybody goes by, moves last; and where there is to be no previous version any more,
    that one stays known until it is champion.
    """
    champion, previous = wanted[CHAMPION], wanted[PREVIOUS]
    if previous is not None:
        _point(tracker, PREVIOUS, previous)
    if tracker.alias(MODEL, CANDIDATE) is not None:
        tracker.delete_alias(MODEL, CANDIDATE)
    if champion is not None:
        _point(tracker, CHAMPION, champion)
    if previous is None and tracker.alias(MODEL, PREVIOUS) is not None:
        tracker.delete_alias(MODEL, PREVIOUS)


def _point(tracker: Tracker, alias: str, number: int) -> None:
    there = tracker.alias(MODEL, alias)
    if there is None or there.number != number:
        tracker.set_alias(MODEL, alias, number)
