"""What an infra file may say of a cluster, and what it is told where it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deepperception.errors import InputError
from deepperception.infra import Infra, load_infra
from deepperception.infra_pools import GPU_STAGES, amount, image_faults, layout_of, place_of, placement_faults

GOLDEN = Path(__file__).parent / "pipelines" / "golden" / "infra.yaml"
DIGEST = "sha256:" + "0" * 64


def changed(**changes: Any) -> Infra:
    content = yaml.safe_load(GOLDEN.read_text())
    for path, value in changes.items():
        *sections, name = path.split("__")
        place = content
        for section in sections:
            place = place[section]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return Infra.model_validate(content)


def test_good_files_have_no_faults() -> None:
    assert placement_faults(load_infra(GOLDEN)) == []
    assert placement_faults(load_infra("gpu-pool")) == []
    assert image_faults(load_infra(GOLDEN).images) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pools__gpu__count": 0}, ["pools.gpu.count: it names", *(f"stages.{name}: it needs" for name in GPU_STAGES)]),
        ({"pools__gpu__accelerator": None}, ["pools.gpu.accelerator", *(f"stages.{name}" for name in GPU_STAGES)]),
        ({"stages__sft__pool": "gpuu"}, ["stages.sft.pool: there is no pool 'gpuu'; did you mean 'gpu'?"]),
        ({"stages__sft__pool": "zoo"}, ["stages.sft.pool: there is no pool 'zoo'; there are: cpu, gpu."]),
        ({"stages__sft__pool": "cpu"}, ["stages.sft: it needs a GPU and the pool 'cpu' gives it none"]),
        ({"stages__sftt": {"pool": "gpu"}}, ["stages.sftt: there is no such stage; did you mean 'sft'?"]),
        ({"pools__cpu": None}, ["pools: there is no pool 'cpu', for preflight, base, promotion, report, ending;"]),
        ({"pools__cpu__memory": "8 GB"}, ["pools.cpu.memory: '8 GB' is no amount"]),
        ({"pools__cpu__cpu": "0"}, ["pools.cpu.cpu: '0' is no amount"]),
        ({"kubeflow__endpoint": "kfp:8888"}, ["kubeflow.endpoint: 'kfp:8888' is no URL"]),
        ({"kubeflow": None, "images": None}, ["images: a cluster needs", "kubeflow: a cluster's API"]),
        ({"pools": {}}, ["pools: there are none"]),
        ({"stages__synthesis__nodes": 2}, ["stages.synthesis.nodes: only sft and grpo are several processes; write 1"]),
        ({"stages__evaluation": {"pool": "gpu", "processes_per_node": 2}}, ["stages.evaluation.processes_per_node"]),
        ({"stages__sft__processes_per_node": 3}, ["stages.sft.processes_per_node: 3 processes for 1 x nvidia.com/gpu"]),
        ({"stages__sft__nodes": 2, "stages__sft__launcher": "cpus"},
         ["stages.sft.launcher: there is no pool 'cpus'; did you mean 'cpu'?"]),
        ({"serving": {"pool": "gpuu"}}, ["serving.pool: there is no pool 'gpuu'; did you mean 'gpu'?"]),
        ({"serving": {}, "store": "/work/store"}, ["serving: its pods cannot read the store /work/store; give an s3://"]),
    ],
)  # fmt: skip
def test_every_fault_is_a_sentence_with_its_place(changes: dict[str, Any], said: list[str]) -> None:
    faults = placement_faults(changed(**changes))
    assert len(faults) == len(said), faults
    for part in said:
        assert any(fault.startswith(part) for fault in faults), (part, faults)
    assert all("\n" not in fault and fault[-1] in ".?" for fault in faults)


@pytest.mark.parametrize(
    ("changes", "processes", "why"),
    [
        ({}, (1, 1), "one GPU of one node is the step's own"),
        ({"stages__sft__nodes": 2}, (2, 1), "a process for each node"),
        ({"pools__gpu__count": 4}, (1, 4), "a process for each GPU"),
        ({"stages__sft": {"pool": "cpu", "on_cpu": True, "nodes": 2}}, (2, 1), "a CPU is one"),
        ({"stages__sft": {"pool": "cpu", "on_cpu": True, "processes_per_node": 3}}, (1, 3), "or as many as it is told"),
        ({"stages__sft__nodes": 2, "runner": "local"}, (1, 1), "a laptop makes no TrainJobs"),
    ],
)
def test_how_many_processes_a_training_is(changes: dict[str, Any], processes: tuple[int, int], why: str) -> None:
    infra = changed(**changes)
    for step in ("sft", "cot_sft"):
        layout = layout_of(infra, step)
        assert (layout.nodes, layout.processes_per_node) == processes, why
    assert placement_faults(infra) == []
    assert layout_of(infra, "evaluation").processes == 1


def test_a_stage_may_be_meant_for_a_cpu() -> None:
    assert placement_faults(changed(stages__sft={"pool": "cpu", "on_cpu": True})) == []


def test_a_stage_that_is_not_named_has_a_place() -> None:
    infra = changed(stages={})
    assert {stage: place_of(infra, stage).pool for stage in ("base", "sft", "evaluation", "report")} == {
        "base": "cpu",
        "sft": "gpu",
        "evaluation": "gpu",
        "report": "cpu",
    }


@pytest.mark.parametrize(
    ("image", "fine"),
    [
        (f"registry.example:5000/deepperception/trainer@{DIGEST}", True),
        (f"trainer:1.0@{DIGEST}", True),
        ("deepperception/trainer:0.1.0", False),
        ("deepperception/trainer", False),
        ("trainer@sha256:0123", False),
        (f"trainer@{DIGEST.upper()}", False),
    ],
)
def test_an_image_is_named_by_its_digest(image: str, fine: bool) -> None:
    assert (image_faults(changed(images={"trainer": image}).images) == []) == fine


@pytest.mark.parametrize(
    ("quantity", "value"), [("2", 2), ("500m", 0.5), ("1.5", 1.5), ("1Ki", 1024), ("64Gi", 64 * 2**30), ("1G", 1e9)]
)
def test_amounts_are_those_of_kubernetes(quantity: str, value: float) -> None:
    assert amount(quantity) == value


def test_all_misspelt_keys_are_told(tmp_path: Path) -> None:
    path = tmp_path / "infra.yaml"
    content = yaml.safe_load(GOLDEN.read_text())
    content["pools"]["gpu"]["tolerations"][0]["efect"] = "NoSchedule"
    content["stages"]["sft"]["retrys"] = 1
    content["runer"] = "kubeflow"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as told:
        load_infra(path)
    said = str(told.value)
    assert said.startswith("3 faults:\n")
    for key, near in (
        ("pools.gpu.tolerations.0.efect", "effect"),
        ("stages.sft.retrys", "retries"),
        ("runer", "runner"),
    ):
        assert f"{path}: unknown key '{key}'; did you mean '{near}'?" in said
    assert len(said.splitlines()) == 4


def test_it_survives_the_way_through_a_pipeline_parameter() -> None:
    infra = load_infra(GOLDEN)
    assert Infra.from_json(infra.to_json()) == infra
