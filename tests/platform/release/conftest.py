"""A cluster that serves a champion, a registry that knows it, and users who ask."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import kserve_stand_in, revisions
from services.release_process import Task

from deepperception.artifacts import FolderStore
from deepperception.grounding import Box
from deepperception.platform import serving_cluster
from deepperception.platform.serving_cluster import KubernetesCluster
from deepperception.progress import Progress
from deepperception.promotion import Release, Target
from deepperception.promotion.config import PromotionConfig, ReleaseConfig
from deepperception.promotion.golden import Golden
from deepperception.promotion.journal import Journal, Record, read_record
from deepperception.promotion.rollout import go_back, roll_out
from deepperception.tracking import MODEL, Tracker, Version

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", ROOT.parent / "shared"))
SCHEMA = SHARED / "schemas" / "inferenceservice-serving.kserve.io-v1beta1.json"
REQUEST = json.dumps({"instances": [{"image": {"b64": "YSBwaWN0dXJl"}, "entity": "wren"}]}).encode()
RELEASE = ReleaseConfig(steps=(10, 50, 100), min_requests=12, step_timeout_s=20)
CONFIG = PromotionConfig(release=RELEASE)
TARGET = Target(
    namespace="deepperception-serving",
    name="deepperception",
    runtime="deepperception",
    service_account="deepperception-server",
    resources={"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    ready_timeout_s=30,
    schedule_timeout_s=0.3,
    lease_s=1.5,
    poll_s=0.03,
)
PICTURES = [Golden(f"bird/{number}", b"a picture", "wren", Box(100, 100, 300, 300)) for number in range(3)]


def role() -> list[kserve_stand_in.Rule]:
    """What the manifests let a release do."""
    objects = yaml.safe_load_all((ROOT / "manifests/base/runner.yaml").read_text())
    (found,) = (each for each in objects if each["kind"] == "Role" and each["metadata"]["name"].endswith("-release"))
    return [
        kserve_stand_in.Rule(group, resource, verb)
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


@dataclass
class Traffic:
    """What users got."""

    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)


@dataclass
class World:
    """Version 1 serves and is champion; version 2 is registered."""

    tracker: Tracker
    cluster: KubernetesCluster
    api: kserve_stand_in.StandIn
    revisions: revisions.Revisions
    gateway: str
    kubeconfig: Path
    champion: Version
    candidate: Version
    log: io.StringIO = field(default_factory=io.StringIO)
    target: Target = TARGET
    config: PromotionConfig = CONFIG
    request: bytes = REQUEST
    pictures: list[Golden] = field(default_factory=lambda: PICTURES)

    def release(self, **change: Any) -> Release:
        """As another process would have it."""
        progress = Progress("release", self.log)
        target = replace(self.target, **change)
        journal = Journal(self.cluster, target, progress)
        return Release(self.cluster, target, self.tracker, self.config, progress, journal, self.pictures)

    def roll_out(self, candidate: Version | None = None, key: str = "the same release", **wishes: Any) -> Record:
        return roll_out(self.release(), candidate or self.candidate, self.champion, key, **wishes)

    def roll_back(self) -> Record:
        return go_back(self.release())

    def task(self, **change: Any) -> Task:
        """The same in a process of its own."""
        return Task(
            kubeconfig=self.kubeconfig,
            tracking_uri=self.tracker.uri,
            target=self.target,
            config=self.config,
            pictures=self.pictures,
            candidate=self.candidate,
            champion=self.champion,
            **change,
        )

    @property
    def record(self) -> Record | None:
        return read_record(self.cluster, self.target)

    def aliases(self) -> dict[str, int | None]:
        found = {name: self.tracker.alias(MODEL, name) for name in ("champion", "previous", "candidate")}
        return {name: version.number if version else None for name, version in found.items()}

    def serving(self) -> dict[int, int]:
        """Version -> percent of the requests, as it is routed now."""
        numbers = {version.digest[7:]: version.number for version in (self.champion, self.candidate)}
        return {numbers[uri.rstrip("/")[-64:]]: share for uri, share in self.revisions.serving().items()}

    def behave(self, version: Version, **behaviour: Any) -> None:
        """What its server will be like."""
        self.revisions.behaviours[version.digest[7:]] = behaviour

    def starts(self, version: Version) -> int:
        return sum(version.digest[7:] in uri for uri in self.revisions.started)

    @contextmanager
    def traffic(self, clients: int = 3) -> Iterator[Traffic]:
        """Users who ask without a pause, while the block runs."""
        seen, over, lock = Traffic(), threading.Event(), threading.Lock()

        def ask() -> None:
            while not over.wait(0.002):
                status = self.ask()
                with lock:
                    seen.statuses[status] += 1

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def ask(self) -> int:
        """One request through the split."""
        request = urllib.request.Request(f"{self.gateway}/v1/models/deepperception:predict", data=self.request)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all its tables, made once: every test copies it."""
    pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Tracker(f"sqlite:///{path}", "tests")
    return path


@pytest.fixture(scope="session")
def schema() -> dict[str, Any] | None:
    """KServe's own, where it is at hand; without it the stand-in takes any field."""
    if not SCHEMA.is_file():
        return None
    content: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return content


@pytest.fixture
def tracking_uri(tmp_path: Path, empty_registry: Path) -> str:
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """The folders of the two versions."""
    folders = [tmp_path / name for name in ("base", "better")]
    for folder in folders:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(folder.name.encode())
    return folders


@pytest.fixture
def world(
    tmp_path: Path,
    tracking_uri: str,
    models: list[Path],
    schema: dict[str, Any] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    tracker, store = Tracker(tracking_uri, "tests"), FolderStore(tmp_path / "store")

    def registered(folder: Path) -> Version:
        kept = store.put(folder)
        return Version(tracker.register(MODEL, kept.uri, kept.digest, None, {}), kept.uri, kept.digest, None)

    champion, candidate = (registered(folder) for folder in models)
    tracker.set_alias(MODEL, "champion", champion.number)
    tracker.set_alias(MODEL, "candidate", candidate.number)
    controller = revisions.Revisions()
    api = kserve_stand_in.StandIn(controller, role(), schema)
    monkeypatch.setattr(serving_cluster, "_PAUSE_S", 0.01)
    with kserve_stand_in.served(api) as url, revisions.gateway(controller) as gateway:
        config = kserve_stand_in.kubeconfig(tmp_path / "kubeconfig", url)
        monkeypatch.setenv("KUBECONFIG", str(config))
        cluster = KubernetesCluster(TARGET.namespace)
        there = World(tracker, cluster, api, controller, gateway, config, champion, candidate)
        try:
            yield there
        finally:
            controller.close()


@pytest.fixture
def serving(world: World) -> World:
    """The same, and version 1 serves already."""
    from deepperception.promotion.service import SERVICE, predictor, service

    stable = predictor(TARGET, world.champion.uri, world.champion.digest)
    world.cluster.create(SERVICE, service(TARGET, stable))
    (first,) = world.revisions.revisions.values()
    while not first.is_ready():
        assert first.is_running()
    return world
