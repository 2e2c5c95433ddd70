"""How a release begins, goes on after a kill, and is taken back."""

from __future__ import annotations

import hashlib

from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.promotion import registry
from deepperception.promotion.cluster import Object, Target
from deepperception.promotion.journal import ENDED, Record, Side, State, read_record
from deepperception.promotion.release import Release, wanted
from deepperception.promotion.service import SERVICE, canaries, predictor, service, storage_uri, with_spec
from deepperception.tracking import MODEL, Version

IMAGE_TAG = "server_image"
_BY_COMMAND = "taken back by command"
_BEFORE_THE_CHANGE = (State.SEEDING, State.LAUNCHED, State.SMOKE, State.CANARY)


def key_of(candidate: str, evidence: str) -> str:
    """The same for the same model and the same evidence: a release that is run again knows itself."""
    return hashlib.sha256(f"{candidate} {evidence}".encode()).hexdigest()[:16]


def roll_out(
    release: Release, candidate: Version, champion: Version, key: str, *, again: bool = False, downtime: bool = False
) -> Record:
    """Bring `candidate` into `champion`'s place, from wherever an earlier attempt left it.

    GateRefused where it was rolled back, now or as the last thing that happened here (unless `again`);
    InfrastructureError where another release is under way, or there is no room beside the champion (unless
    `downtime`: then it takes the champion's place at once).
    """
    journal = release.journal
    record = journal.take(same_release=key)
    if record and record.state not in ENDED and record.key != key:
        journal.let_go()
        raise InfrastructureError(
            f"a release of version {record.candidate.number} stopped half way ({record.state.value}); run it again, or"
            " end it with `deepperception rollback`."
        )
    if record and record.state is State.RELEASED and record.key == key:
        journal.let_go()
        return record
    if record and record.state is State.ROLLED_BACK and record.candidate.digest == candidate.digest and not again:
        journal.let_go()
        raise _refused(record, "was rolled back before", "; --again tries it once more")
    if record is None or record.state in ENDED:
        try:
            record = begin(release, candidate, champion, key, downtime=downtime)
        except BaseException:
            journal.let_go()
            raise
        journal.write(record)
    ended = release.drive(record)
    if ended.state is State.ROLLED_BACK:
        raise _refused(ended, "was rolled back", "")
    return ended


def begin(release: Release, candidate: Version, champion: Version, key: str, *, downtime: bool) -> Record:
    """The first state of a release; InputError where what is served is not what the registry says."""
    target, content = release.target, release.cluster.read(SERVICE, release.target.name)
    stable = _predictor_of(target, champion)
    if content is not None:
        stable = content["spec"]["predictor"]
        _check_serves(content, target, champion)
    room = None if downtime else release.cluster.no_room(target.resources)
    if room is not None:
        raise InfrastructureError(
            f"{room}, and the candidate is to run beside the champion; free one, or allow downtime with"
            " --allow-downtime."
        )
    first = State.REPLACING if downtime else State.LAUNCHED if content is not None else State.SEEDING
    return Record(
        key=key,
        state=first,
        candidate=Side(candidate.number, candidate.digest, predictor(target, candidate.uri, candidate.digest)),
        previous=Side(champion.number, champion.digest, stable),
        aliases=registry.numbers(release.tracker),
    ).at(first, f"version {candidate.number} is to follow version {champion.number}")


def finish(release: Release, champion: Version) -> None:
    """Go on with the release that made `champion` what it is, where that was cut off before its end."""
    record = read_record(release.cluster, release.target)
    if record is None or record.state in ENDED or record.candidate.digest != champion.digest:
        return
    record = release.journal.take(same_release=record.key)
    if record is not None:
        release.drive(record)


def go_back(release: Release) -> Record:
    """Have the version before serve again: of a release that is under way, else of the last one. In one step.

    InputError where there is none; InfrastructureError where it cannot be brought up, and the served one stays.
    """
    record = release.journal.take(by_force=True)
    try:
        record = way_back(release, record)
    except BaseException:
        release.journal.let_go()
        raise
    release.journal.write(record)
    return release.drive(record)


def way_back(release: Release, record: Record | None) -> Record:
    """The state to go back from."""
    if record is None or record.state in ENDED:
        return _back_from_released(release, record)
    if record.state in _BEFORE_THE_CHANGE:
        return record.at(State.REVERTING, _BY_COMMAND, reason=_BY_COMMAND)
    if record.state is State.REPLACING:
        return record.at(State.RESTORING, _BY_COMMAND, reason=_BY_COMMAND)
    if record.state is State.PROMOTED:
        return record.at(State.RETURNING, _BY_COMMAND, reason=_BY_COMMAND)
    return record  # it is on its way already


def objects(release: Release, record: Record, steps: tuple[int, ...]) -> list[tuple[str, Object]]:
    """What each state of a release, or of a way back, would have the API keep: (state, InferenceService)."""
    target, content = release.target, release.cluster.read(SERVICE, release.target.name)
    path = [record.at(state) for state in _path(record.state) if state is not State.CANARY]
    position = next((i for i, one in enumerate(path) if one.state is State.PROMOTED), len(path))
    if record.state in _BEFORE_THE_CHANGE:
        path[position:position] = [record.at(State.CANARY, step=step) for step in steps]
    shown: list[tuple[str, Object]] = []
    for one in path:
        stable, canary, percent = wanted(one, target)
        asked = with_spec(content or service(target, stable), target, stable, canary, percent)
        if not shown or shown[-1][1] != asked:
            shown.append((f"{one.state.value} {one.step} %" if one.state is State.CANARY else one.state.value, asked))
    return shown


def _path(first: State) -> list[State]:
    forward = [State.SEEDING, State.LAUNCHED, State.CANARY, State.PROMOTED]
    if first is State.REPLACING:
        return [State.REPLACING, State.PROMOTED]
    if first in forward:
        return forward[forward.index(first) :]
    return [State.RETURNING, State.RETURNED] if first is State.RETURNING else [first]


def _back_from_released(release: Release, record: Record | None) -> Record:
    champion, previous = registry.current(release.tracker), release.tracker.alias(MODEL, registry.PREVIOUS)
    content = release.cluster.read(SERVICE, release.target.name)
    if previous is None:
        raise InputError(
            f"{release.tracker.uri}: there is no version before {champion.number} to go back to; promote one instead."
        )
    if content is None:
        raise InputError(
            f"{release.target.namespace}/{release.target.name}: nothing is served there; promote a version first."
        )
    kept = (
        next((s.predictor for s in (record.previous, record.candidate) if s.digest == previous.digest), None)
        if record
        else None
    )
    back = kept if kept and kept.get("name") else _predictor_of(release.target, previous)
    return Record(
        key=key_of(champion.digest, f"back to {previous.digest}"),
        state=State.RETURNING,
        candidate=Side(champion.number, champion.digest, content["spec"]["predictor"]),
        previous=Side(previous.number, previous.digest, back),
        aliases={registry.CHAMPION: previous.number, registry.PREVIOUS: None},
        reason=_BY_COMMAND,
    ).at(State.RETURNING, _BY_COMMAND)


def _predictor_of(target: Target, version: Version) -> Object:
    """With the image that the version was released with: the way back is to be back to what ran."""
    return predictor(target, version.uri, version.digest, version.tags.get(IMAGE_TAG))


def _check_serves(content: Object, target: Target, champion: Version) -> None:
    where, served = f"{target.namespace}/{target.name}", storage_uri(content["spec"]["predictor"])
    if not served.endswith(champion.digest.removeprefix("sha256:")):
        raise InputError(
            f"{where}: it serves {served or 'no model of ours'}, and the registry's champion is version"
            f" {champion.number} ({champion.digest}); give the alias or the service back what is true, then run again."
        )
    loaded = [entry["predictor"].get("name") for entry in canaries(content) if entry["trafficPercent"]]
    if loaded:
        raise InputError(f"{where}: it has a canary of another hand ({loaded[0]}); remove it, then run again.")


def _refused(record: Record, what: str, more: str) -> GateRefused:
    return GateRefused(
        f"version {record.candidate.number} {what} ({record.reason}); version {record.previous.number} serves{more}."
    )
