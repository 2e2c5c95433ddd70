"""Where pipelines in containers run in tests: services on a network, the command, what it leaves in S3 and MLflow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from docker_engine import Docker
from services.docker_network import S3, Mlflow, Network

from ..images.containers import Built
from .test_run import arguments

TINY = (
    "synthesis.rows={sft: 16, rl: 8, validation: 8, test: 8}",
    "synthesis.source.options.photos_per_entity=8",
    "sft.max_steps=4",
    "sft.batch_size=4",
    "grpo.max_steps=1",
    "grpo.prompts_per_step=2",
    "grpo.group_size=2",
    "grpo.difficulty=null",
    "promotion.min_cases=8",
)


@dataclass(frozen=True)
class Place:
    """Where the pipelines of this file run."""

    docker: Docker
    network: Network
    s3: S3
    mlflow: Mlflow
    trainer: Built
    base: Path

    def command(self, out: Path) -> list[str]:
        """A run with a store and an experiment of its own, named like its folder."""
        infra = {
            "runner": "docker",
            "work_dir": "{out}/work",
            "store": f"s3://models/{out.name}",
            "s3": {"endpoint": self.s3.endpoint, "part_mib": 5, "cache_dir": "{out}/cache"},
            "tracking_uri": self.mlflow.url,
            "experiment": out.name,
            "images": {"trainer": self.trainer.facts["image"]},
            "docker": {"network": self.network.name, "environment": {"OMP_NUM_THREADS": "1"}},
        }
        file = self.base.with_name(f"{out.name}.yaml")
        file.write_text(yaml.safe_dump(infra))
        settings = (part for setting in (*TINY, f"model.base={self.base}") for part in ("--set", setting))
        return arguments("bestiary", out, "--infra", str(file), *settings)

    @property
    def environment(self) -> dict[str, str]:
        key = self.s3.keys["models"]
        return self.docker.environment | {
            "AWS_ACCESS_KEY_ID": key.access_key,
            "AWS_SECRET_ACCESS_KEY": key.secret_key,
            "MLFLOW_TRACKING_USERNAME": self.mlflow.user,
            "MLFLOW_TRACKING_PASSWORD": self.mlflow.password,
        }

    @contextlib.contextmanager
    def started(self, out: Path) -> Iterator[Started]:
        """The command, as a user starts it."""
        screen = self.base.with_name(f"{out.name}-{time.time_ns()}.log")
        with screen.open("w") as stream:
            process = subprocess.Popen(self.command(out), env=self.environment, stdout=stream, stderr=stream)
        try:
            yield Started(process, screen)
        finally:
            process.terminate()
            process.wait()

    def steps(self) -> list[str]:
        """The containers of stages that are running now."""
        image = self.trainer.facts["image"]
        return self.docker.call(
            *("ps", "--quiet", "--filter", f"ancestor={image}", "--filter", f"network={self.network.name}")
        ).split()

    def forget(self) -> None:
        """The registry is as it was before the first run."""
        self.mlflow.ask("DELETE", "registered-models/delete", {"name": "deepperception"})


@dataclass(frozen=True)
class Started:
    """A run on its way."""

    process: subprocess.Popen[bytes]
    screen: Path

    def said(self) -> str:
        return self.screen.read_text(encoding="utf-8")

    def await_that(self, came: Callable[[], object]) -> None:
        """Until it has come; a run that ends before that has failed the test."""
        while not came():
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def ended(self, code: int) -> str:
        """All that was said; the run must have ended with this exit code."""
        assert self.process.wait() == code, self.said()
        return self.said()


def half_sent(place: Place, prefix: str) -> bool:
    """Whether an upload in parts is on its way, with parts of it sent."""
    client = place.s3.client("models")
    for upload in client._list_multipart_uploads("models", prefix=prefix).uploads:
        if client._list_parts("models", upload.object_name, upload.upload_id).parts:
            return True
    return False


def champion_of(place: Place) -> dict[str, str]:
    """The tags of the version that MLflow calls champion."""
    answer = place.mlflow.ask("GET", "registered-models/alias", {"name": "deepperception", "alias": "champion"})
    answer.raise_for_status()
    return {tag["key"]: tag["value"] for tag in answer.json()["model_version"]["tags"]}


def complete_references(place: Place, prefix: str) -> list[str]:
    """The digests of all entries that can be read, every one of them checked byte for byte."""
    client, found = place.s3.client("models"), []
    for each in client.list_objects("models", prefix=f"{prefix}/sha256/"):
        if str(each.object_name).endswith(".json"):
            index = json.loads(read(place, str(each.object_name)))
            entry = str(each.object_name).removesuffix(".json")
            assert digest_in_s3(place, f"s3://models/{entry}") == index["digest"]
            found.append(index["digest"])
    return found


def digest_in_s3(place: Place, uri: str) -> str:
    """Of the objects below `uri`, as the design defines an artifact's digest; by a client of the test's own."""
    folder = uri.removeprefix("s3://models/") + "/"
    files = {
        str(each.object_name).removeprefix(folder): hashlib.sha256(read(place, str(each.object_name))).hexdigest()
        for each in place.s3.client("models").list_objects("models", prefix=folder, recursive=True)
    }
    assert files, f"{uri}: there is nothing"
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def read(place: Place, name: str) -> bytes:
    response = place.s3.client("models").get_object("models", name)
    with contextlib.closing(response):
        content: bytes = response.read()
    response.release_conn()
    return content
