"""A small installation that breaks no rule, and a stand-in for kubectl on the PATH."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepperception.platform.deploy import schemas
from deepperception.platform.deploy.objects import Object
from deepperception.platform.deploy.run import Options

NAMESPACE = "deepperception"
OURS = {"app.kubernetes.io/managed-by": "deepperception-deploy"}
LOCKED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
RESOURCES = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


def thing(
    kind: str, name: str, spec: Any = None, *, version: str = "v1", namespace: str = NAMESPACE, **more: Any
) -> Object:
    meta = {"name": name, "labels": dict(OURS), **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": meta,
        **({"spec": spec} if spec is not None else {}),
        **more,
    }


def pod(name: str, container: Object, **more: Any) -> Object:
    context = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    whole = {"name": name, "image": "registry/name:1.0", "resources": RESOURCES, "securityContext": LOCKED, **container}
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"securityContext": context, "containers": [whole], **more},
    }


def policy(name: str, selected: Object, **sides: Any) -> Object:
    types = [side.capitalize() for side in sides] or ["Ingress", "Egress"]
    spec = {"podSelector": selected, "policyTypes": types, **{side: rules for side, rules in sides.items()}}
    return thing("NetworkPolicy", name, spec, version="networking.k8s.io/v1")


def only(app: str) -> Object:
    return {"matchLabels": {"app": app}}


@pytest.fixture
def world() -> list[Object]:
    """A database, and a front that asks it, by an address in its configuration and a password in a Secret."""
    database = pod("db", {"ports": [{"name": "sql", "containerPort": 5432}]})
    secret = {"valueFrom": {"secretKeyRef": {"name": "postgres", "key": "POSTGRES_PASSWORD"}}}
    front = pod(
        "front",
        {
            "env": [
                {"name": "DATABASE", "value": "db.deepperception.svc.cluster.local:5432"},
                {"name": "PASSWORD", **secret},
            ],
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "ports": [{"name": "http", "containerPort": 80}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        },
        serviceAccountName="front",
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    migrate = pod("migrate", {"env": [{"name": "PASSWORD", **secret}]}, restartPolicy="Never")
    port = {"protocol": "TCP", "port": 5432}
    dns = {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"protocol": "UDP", "port": 53}],
    }
    rights = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    group = "rbac.authorization.k8s.io"
    route = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "front", "port": {"name": "http"}}}}
    ingress = thing(
        "Ingress",
        "front",
        {
            "tls": [{"hosts": ["front.test"], "secretName": "front-tls"}],
            "rules": [{"host": "front.test", "http": {"paths": [route]}}],
        },
        version="networking.k8s.io/v1",
    )
    ingress["metadata"]["annotations"] = {"cert-manager.io/cluster-issuer": "some"}
    objects = [
        *(thing("Namespace", NAMESPACE + suffix, namespace="") for suffix in ("", "-runs", "-serving")),
        thing("ServiceAccount", "front"),
        thing("Role", "front", version=f"{group}/v1", rules=[rights]),
        thing(
            "RoleBinding",
            "front",
            version=f"{group}/v1",
            roleRef={"apiGroup": group, "kind": "Role", "name": "front"},
            subjects=[{"kind": "ServiceAccount", "name": "front", "namespace": NAMESPACE}],
        ),
        thing("ConfigMap", "settings", data={"COLOUR": "blue"}),
        thing(
            "PersistentVolumeClaim",
            "data",
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        ),
        thing(
            "Service", "db", {"selector": {"app": "db"}, "ports": [{"name": "sql", "port": 5432, "targetPort": "sql"}]}
        ),
        thing(
            "Service",
            "front",
            {"selector": {"app": "front"}, "ports": [{"name": "http", "port": 80, "targetPort": 80}]},
        ),
        policy("deny", {}),
        policy("dns", {}, egress=[dns]),
        policy("db", only("db"), ingress=[{"from": [{"podSelector": only("front")}], "ports": [port]}]),
        policy("front", only("front"), egress=[{"to": [{"podSelector": only("db")}], "ports": [port]}]),
        thing(
            "StatefulSet", "db", {"serviceName": "db", "selector": only("db"), "template": database}, version="apps/v1"
        ),
        thing("Job", "migrate", {"template": migrate}, version="batch/v1"),
        thing("Deployment", "front", {"selector": only("front"), "template": front}, version="apps/v1"),
        ingress,
    ]
    return copy.deepcopy(objects)  # the pieces are shared between them


@dataclass
class Cluster:
    """The stand-in's files."""

    place: Path
    options: Options

    def render(self, objects: list[Object]) -> None:
        """What kustomize gives from now on."""
        self.options.overlay.mkdir(exist_ok=True)
        (self.options.overlay / "kustomization.yaml").touch()
        (self.options.overlay / "rendered.yaml").write_text(yaml.safe_dump_all(objects, sort_keys=False))

    def install(self, *things: Object) -> None:
        """Objects that are there before."""
        names = {
            "/".join([each["kind"].lower(), each["metadata"].get("namespace", ""), each["metadata"]["name"]]): each
            for each in things
        }
        state = {**self.state, **{name: {"applied": each, "object": each} for name, each in names.items()}}
        (self.place / "state.json").write_text(json.dumps(state))

    def trouble(self, name: str, status: Object) -> None:
        """What the workload of that name shows once it is applied."""
        (self.place / "trouble.json").write_text(json.dumps({name: status}))

    def go_away(self) -> None:
        (self.place / "no-cluster").touch()

    @property
    def state(self) -> dict[str, Any]:
        path = self.place / "state.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def calls(self, *verbs: str) -> list[dict[str, Any]]:
        """Those with one of the verbs, or all."""
        path = self.place / "calls.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        words = [[part for part in each["arguments"] if not part.startswith("--")] for each in lines]
        return [each for each, said in zip(lines, words, strict=True) if not verbs or said[0] in verbs]

    def forget_calls(self) -> None:
        (self.place / "calls.jsonl").unlink()


PREREQUISITES = """
kubernetes: {oldest: "1.31", newest: "1.34"}
components:
  - {name: KServe, version: 0.21.0, image_of: {namespace: kserve, deployment: controller}, why: serves}
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: list[Object]) -> Cluster:
    """A stand-in that renders `world` and has the one prerequisite."""
    monkeypatch.setattr(schemas, "KUBERNETES", ("1.34",))  # the schemas have their own tests
    place, programs = tmp_path / "cluster", tmp_path / "bin"
    place.mkdir()
    programs.mkdir()
    program = programs / "kubectl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{Path(__file__).with_name("standin.py")}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("STANDIN", str(place))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    file = tmp_path / "prerequisites.yaml"
    file.write_text(PREREQUISITES)
    made = Cluster(place, Options(tmp_path / "overlay", file, deadline_s=30))
    made.render(world)
    made.install(controller("kserve/controller:v0.21.0"))
    return made


def controller(image: str) -> Object:
    spec = {"template": {"spec": {"containers": [{"name": "manager", "image": image}]}}}
    return thing("Deployment", "controller", spec, version="apps/v1", namespace="kserve")


@pytest.fixture
def said() -> list[str]:
    """What the deploy says, line by line."""
    return []


@pytest.fixture
def installed() -> Callable[[str], Object]:
    """The prerequisite's Deployment, of an image."""
    return controller
