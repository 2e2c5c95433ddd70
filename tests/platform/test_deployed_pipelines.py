"""Registering, at a stand-in for KFP's API: a version for each content, none twice."""

from __future__ import annotations

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.platform.deploy import pipelines


def test_every_pipeline_is_uploaded_once_for_each_content(cluster: Infra) -> None:
    said: list[str] = []
    pipelines.register(cluster, said.append)
    pipelines.register(cluster, said.append)
    names = ("deepperception", "deepperception-search", "deepperception-benchmark", "deepperception-synthesis")
    assert [line.split()[1] for line in said] == [*names, *names]
    assert [line.rsplit(maxsplit=1)[1] for line in said] == ["uploaded"] * 4 + ["already"] * 4


def test_without_an_infra_file_it_says_what_to_do() -> None:
    said: list[str] = []
    pipelines.register(None, said.append)
    assert said == ["pipelines: not registered, for where they run is not told; deploy again with INFRA=FILE."]


def test_an_endpoint_that_does_not_answer_is_told_in_one_sentence(cluster: Infra) -> None:
    assert cluster.kubeflow is not None
    nowhere = cluster.kubeflow.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(InfrastructureError, match=r"http://127\.0\.0\.1:9"):
        pipelines.register(cluster.model_copy(update={"kubeflow": nowhere}), print)


def test_an_infra_file_of_another_place_is_refused(cluster: Infra) -> None:
    with pytest.raises(InputError, match="kubeflow"):
        pipelines.register(cluster.model_copy(update={"kubeflow": None}), print)
