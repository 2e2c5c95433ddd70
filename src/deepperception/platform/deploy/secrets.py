"""The platform's Secrets: made once, never in git, never printed. What exists is kept; what is missing is added."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deepperception.platform.deploy.kubectl import FIELD_MANAGER, Kubectl
from deepperception.platform.deploy.objects import Key, Object

PLATFORM, RUNS, SERVING = "deepperception", "deepperception-runs", "deepperception-serving"
BUCKETS = ("pipelines", "mlflow", "models", "backups")
TRACKING_USER = "pipelines"
STORE_HOST = "minio.deepperception.svc.cluster.local:9000"
DATABASE_HOST = "postgres.deepperception.svc.cluster.local:5432"
# By these KServe's storage initializer finds the store.
_FOR_KSERVE = {
    "serving.kserve.io/s3-endpoint": STORE_HOST,
    "serving.kserve.io/s3-usehttps": "0",
    "serving.kserve.io/s3-region": "us-east-1",
}

Existing = Mapping[Key, Mapping[str, str]]
"""Namespace and name -> keys and values."""


@dataclass(frozen=True)
class Secret:
    """A Secret as it should be, and what of it is not there yet."""

    namespace: str
    name: str
    data: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    """Keys whose value is not the one that the platform's Secrets give it: changed by hand, or half rotated."""
    is_new: bool = True

    @property
    def title(self) -> str:
        return f"Secret/{self.name} in {self.namespace}"

    def manifest(self) -> Object:
        """The whole object where it is new, the missing keys else."""
        annotations = _FOR_KSERVE if (self.namespace, self.name) == (SERVING, "deepperception-store") else {}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/part-of": "deepperception"},
                **({"annotations": annotations} if annotations else {}),
            },
            "stringData": {name: self.data[name] for name in self.missing},
        }


def planned(existing: Existing, make: Callable[[], str] = lambda: secrets.token_hex(24)) -> list[Secret]:
    """All Secrets of an installation. A value that is somewhere in `existing` is kept; the others are made.

    Values are hexadecimal: they stand in URLs and in shell scripts without quoting.
    """

    def kept(name: str, entry: str) -> str:
        return existing.get((PLATFORM, name), {}).get(entry) or make()

    root_user, root_password = kept("minio-root", "MINIO_ROOT_USER"), kept("minio-root", "MINIO_ROOT_PASSWORD")
    # The access key is the user's name: it is no secret, and says in the store's log who asked.
    access = {each: existing.get((PLATFORM, "minio-users"), {}).get(f"{each}-access-key") or each for each in BUCKETS}
    secret = {bucket: kept("minio-users", f"{bucket}-secret-key") for bucket in BUCKETS}
    database, admin = kept("postgres", "POSTGRES_PASSWORD"), kept("mlflow", "MLFLOW_AUTH_ADMIN_PASSWORD")
    tracking, session = kept("mlflow", "MLFLOW_PIPELINES_PASSWORD"), kept("mlflow", "MLFLOW_FLASK_SERVER_SECRET_KEY")

    def s3(bucket: str) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": access[bucket], "AWS_SECRET_ACCESS_KEY": secret[bucket]}

    wanted: dict[Key, dict[str, str]] = {
        (PLATFORM, "minio-root"): {"MINIO_ROOT_USER": root_user, "MINIO_ROOT_PASSWORD": root_password},
        (PLATFORM, "minio-users"): {
            **{f"{bucket}-access-key": access[bucket] for bucket in BUCKETS},
            **{f"{bucket}-secret-key": secret[bucket] for bucket in BUCKETS},
        },
        (PLATFORM, "postgres"): {"POSTGRES_PASSWORD": database},
        (PLATFORM, "mlflow"): {
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://mlflow:{database}@{DATABASE_HOST}/mlflow",
            "MLFLOW_AUTH_ADMIN_PASSWORD": admin,
            "MLFLOW_PIPELINES_PASSWORD": tracking,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": session,
            **s3("mlflow"),
        },
        (RUNS, "deepperception-store"): s3("models"),
        (RUNS, "deepperception-pipelines"): s3("pipelines"),
        (RUNS, "deepperception-tracking"): {
            "MLFLOW_TRACKING_USERNAME": TRACKING_USER,
            "MLFLOW_TRACKING_PASSWORD": tracking,
        },
        (SERVING, "deepperception-store"): s3("models"),
    }
    return [_compared(place, data, existing.get(place)) for place, data in wanted.items()]


def _compared(place: Key, data: Mapping[str, str], there: Mapping[str, str] | None) -> Secret:
    missing = tuple(name for name in data if name not in (there or {}))
    differing = tuple(name for name in data if there is not None and name in there and there[name] != data[name])
    return Secret(*place, data, missing, differing, is_new=there is None)


def read_existing(kubectl: Kubectl, namespaces: set[str]) -> Existing:
    """Those of our Secrets that the cluster holds, in the namespaces that exist."""
    found: dict[Key, dict[str, str]] = {}
    ours = [(secret.namespace, secret.name) for secret in planned({})]
    for namespace in sorted({place for place, _ in ours} & namespaces):
        names = [name for place, name in ours if place == namespace]
        listed = kubectl.get("secrets", *names, f"--namespace={namespace}") or {}
        for each in listed.get("items", [listed] if "metadata" in listed and "kind" in listed else []):
            if each["kind"] == "Secret":
                data = {name: base64.b64decode(value).decode() for name, value in (each.get("data") or {}).items()}
                found[namespace, each["metadata"]["name"]] = data
    return found


def write(kubectl: Kubectl, secret: Secret) -> None:
    """Make the Secret, or add its missing keys; through standard input, for arguments show in process lists."""
    if secret.is_new:
        content = json.dumps(secret.manifest())
        kubectl.call("create", f"--field-manager={FIELD_MANAGER}", "--filename=-", stdin=content)
    elif secret.missing:
        patch = json.dumps({"stringData": secret.manifest()["stringData"]})
        where = (f"--namespace={secret.namespace}", "--type=merge", f"--field-manager={FIELD_MANAGER}")
        kubectl.call("patch", "secret", secret.name, *where, "--patch-file=/dev/stdin", stdin=patch)
