"""Registering: a version for each content, none twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deepperception.errors import InfrastructureError
from deepperception.platform.deploy import pipelines


class Held:
    """Stands in for KFP's client: what it was given."""

    def __init__(self) -> None:
        self.versions: dict[str, list[str]] = {}

    def get_pipeline_id(self, name: str) -> str | None:
        return name if name in self.versions else None

    def upload_pipeline(self, path: str, pipeline_name: str) -> Any:
        self.versions[pipeline_name] = [pipeline_name]
        return SimpleNamespace(pipeline_id=pipeline_name)

    def list_pipeline_versions(self, pipeline_id: str, page_size: int, sort_by: str) -> Any:
        held = [SimpleNamespace(display_name=name) for name in self.versions[pipeline_id]]
        return SimpleNamespace(pipeline_versions=held)

    def upload_pipeline_version(self, path: str, name: str, pipeline_id: str) -> None:
        self.versions[pipeline_id].append(name)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    compiled = {"deepperception": "one"}
    monkeypatch.setattr(pipelines, "packages", lambda: compiled)
    return compiled


def test_a_pipeline_is_uploaded_once_for_each_content(packages: dict[str, str]) -> None:
    held, said = Held(), list[str]()
    for content in ("one", "one", "two"):
        packages["deepperception"] = content
        pipelines.register("http://kfp", said.append, client=held)
    one, two = pipelines.version_of("one"), pipelines.version_of("two")
    assert held.versions == {"deepperception": ["deepperception", one, two]}
    assert said == [
        f"pipelines: deepperception {one} registered",
        f"pipelines: deepperception {one} is registered already",
        f"pipelines: deepperception {two} registered",
    ]


def test_without_an_endpoint_it_says_what_to_do() -> None:
    said: list[str] = []
    pipelines.register(None, said.append)
    assert said == [
        "pipelines: not registered, for KFP's API has no address here; set KF_PIPELINES_ENDPOINT and deploy again."
    ]


def test_an_endpoint_that_does_not_answer_is_told_in_one_sentence(packages: dict[str, str]) -> None:
    class Down(Held):
        def get_pipeline_id(self, name: str) -> str | None:
            raise OSError("connection refused")

    with pytest.raises(InfrastructureError, match="http://kfp: the pipelines could not be registered"):
        pipelines.register("http://kfp", print, client=Down())


def test_the_compiled_pipeline_is_among_the_packages() -> None:
    assert "pipelineInfo" in pipelines.packages()["deepperception"]
