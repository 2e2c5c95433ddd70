"""What the tests of several packages need: a tiny model with random weights, rows, an S3 server, a Docker engine."""

from __future__ import annotations

import io
import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker_engine import Docker, Unavailable, engine
from services.rgw import Key, Rgw


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2-VL that has learned nothing, with its interface."""
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from deepperception.artifacts.checkpoints import Interface, write_interface
    from deepperception.bestiary import tiny

    folder = tmp_path_factory.mktemp("checkpoint") / "random"
    torch.manual_seed(0)
    processor = tiny.build_processor()
    model = tiny.build_tiny_model(len(processor.tokenizer), processor.tokenizer.convert_tokens_to_ids)
    tiny.save(model, processor, folder)
    write_interface(folder, Interface(box_step=25, max_pixels=tiny.MAX_PIXELS, max_new_tokens=16))
    return folder


@pytest.fixture(scope="session")
def creature_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder with sft.parquet and rl.parquet of 12 rows each, drawn by the bestiary."""
    from deepperception.artifacts.datasets import write_rows
    from deepperception.bestiary.scenes import draw_scene
    from deepperception.grounding import Object, Sample, answer_text, question

    def row(number: int) -> Sample:
        scene = draw_scene(random.Random(number))
        names = [f"Thing{place}" for place in range(len(scene.creatures))]
        buffer = io.BytesIO()
        assert scene.picture is not None
        scene.picture.save(buffer, "PNG")
        return Sample(
            question_id=f"thing/{number}",
            category="thing",
            question=question(names[0]),
            answer=answer_text(names[0], scene.creatures[0].box),
            image=buffer.getvalue(),
            entity=names[0],
            objects=tuple(Object(name, each.box) for name, each in zip(names, scene.creatures, strict=True)),
            reasoning=f"Look for {names[0]}.\n{scene.creatures[0].box.text()} {names[0]}: match.",
            split="train",
            seen=True,
        )

    folder = tmp_path_factory.mktemp("rows")
    for name in ("sft", "rl"):
        write_rows(folder / f"{name}.parquet", [row(number) for number in range(12)])
    return folder


@dataclass(frozen=True)
class S3Server:
    """A real server, and the key of the user that owns the tests' buckets."""

    gateway: Rgw
    key: Key


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Started once for each test process; skips where its packages are missing."""
    if missing := Rgw.missing():
        pytest.skip(missing)
    with Rgw.started() as gateway:
        yield S3Server(gateway, gateway.create_user("owner"))


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket; the environment holds its owner's key, and the address of its server."""
    from minio import Minio

    name, key = f"bucket-{uuid.uuid4().hex}", s3_server.key
    address = s3_server.gateway.endpoint.removeprefix("http://")
    Minio(address, key.access_key, key.secret_key, secure=False, region="us-east-1").make_bucket(name)
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.gateway.endpoint)
    return name


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """An engine that answers, started where there is none and this user may; skips where there is none to be had."""
    try:
        with engine() as found:
            yield found
    except Unavailable as error:
        pytest.skip(str(error))
