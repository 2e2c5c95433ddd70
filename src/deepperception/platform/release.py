"""Releases as the infra file names their place: the objects of promotion, made for one cluster."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.infra_pools import Pool
from deepperception.platform.serving_cluster import KubernetesCluster
from deepperception.progress import Progress
from deepperception.promotion import Release, Target
from deepperception.promotion.cluster import Object, ServingCluster
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.journal import Journal, Record, read_record
from deepperception.promotion.rollout import begin, go_back, key_of, objects, way_back
from deepperception.promotion.service import SERVICE, canaries, storage_uri
from deepperception.tracking import MODEL, Tracker, Version


def open_release(infra: Infra, config: PromotionConfig, tracker: Tracker, progress: Progress) -> Release | None:
    """The release of the infra file's InferenceService; None where it names none."""
    if infra.serving is None:
        return None
    target, cluster = target_of(infra), open_cluster(infra)
    return Release(cluster, target, tracker, config, progress, Journal(cluster, target, progress))


def open_cluster(infra: Infra) -> ServingCluster:
    """The cluster that the infra file's section serving leads to."""
    assert infra.serving is not None
    return KubernetesCluster(infra.serving.namespace, infra.serving.context)


def target_of(infra: Infra) -> Target:
    """InputError where the pool is none of the file's."""
    assert infra.serving is not None
    place = infra.serving
    pool = Pool(cpu="", memory="") if place.pool is None else infra.pools.get(place.pool)
    if pool is None:
        known = ", ".join(infra.pools) or "none"
        raise InputError(f"serving.pool: there is no pool '{place.pool}'; there are: {known}.")
    return Target(
        image=infra.images.server if infra.images else None,
        resources=_resources(pool) if place.pool else {},
        node_selector=dict(pool.node_selector),
        tolerations=[toleration.model_dump(exclude_none=True) for toleration in pool.tolerations],
        **place.model_dump(exclude={"pool", "context"}),
    )


def foreseen(release: Release, candidate: Version, champion: Version, evidence: str, *, downtime: bool) -> str:
    """The exact objects of a release, in YAML; nothing is written, and the registry is only read."""
    record = begin(release, candidate, champion, key_of(candidate.digest, evidence), downtime=downtime)
    return _rendered(release, record)


def foreseen_back(release: Release) -> str:
    """The exact objects of a rollback, as `foreseen`."""
    return _rendered(release, way_back(release, read_record(release.cluster, release.target)))


def taken_back(release: Release) -> Version:
    """Roll back on the cluster; the version that serves afterwards."""
    record = go_back(release)
    champion = release.tracker.alias(MODEL, "champion")
    assert champion is not None and champion.number == record.previous.number
    return champion


def serving_lines(infra: Infra) -> Iterator[str]:
    """What is served at which share, and where a release stands; nothing where the file names no such place."""
    if infra.serving is None:
        return
    target, cluster = target_of(infra), open_cluster(infra)
    content, record = cluster.read(SERVICE, target.name), read_record(cluster, target)
    where = f"{target.namespace}/{target.name}"
    if content is None:
        yield f"{where}: nothing is served yet"
        return
    beside = canaries(content)
    share = 100 - sum(int(entry["trafficPercent"]) for entry in beside)
    yield f"{where}: {_which(content['spec']['predictor'], record)}, {share} % of the requests"
    for entry in beside:
        told = {status["name"]: status["ready"] for status in content.get("status", {}).get("canaryStatuses", [])}
        ready = "ready" if told.get(entry["predictor"].get("name")) else "not ready"
        yield f"{where}: {_which(entry['predictor'], record)}, {entry['trafficPercent']} % of the requests, {ready}"
    if record is not None:
        why = f" ({record.reason})" if record.reason else ""
        yield f"{where}: release of version {record.candidate.number}: {record.state.value}{why}"


def _which(predictor: Object, record: Record | None) -> str:
    digest = storage_uri(predictor).rpartition("/")[2]
    sides = (record.candidate, record.previous) if record else ()
    number = next((side.number for side in sides if side.digest.endswith(digest) and digest), None)
    return f"version {number}, sha256:{digest[:12]}" if number else f"{digest[:12] or 'a model of another hand'}"


def _rendered(release: Release, record: Record) -> str:
    shown = objects(release, record, release.config.release.steps)
    return "".join(f"# {state}\n---\n{yaml.safe_dump(content, sort_keys=False)}" for state, content in shown)


def _resources(pool: Pool) -> Object:
    asked = {"cpu": pool.cpu, "memory": pool.memory}
    if pool.accelerator:
        asked[pool.accelerator] = str(pool.count)
    return {"requests": asked, "limits": dict(asked)}
