"""A cluster's services as containers on one Docker network: the tracking image's MLflow, and a real S3 server.

The network leads nowhere else. Both services keep their address when they are stopped and started, and that address
holds for containers and for this machine. Users and keys are random and made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import secrets
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from docker_engine import CommandFailed, Docker
from minio import Minio

from .rgw import Key

HERE = Path(__file__).resolve().parent
_READY_S = 180.0
_BOUNDS = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
_AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:////work/auth.db
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""  # without the cache a password costs a second at every request


@dataclass(frozen=True)
class Network:
    """One bridge of the engine, with no way out."""

    docker: Docker
    name: str
    subnet: ipaddress.IPv4Network

    def address(self, number: int) -> str:
        """The address of a service; the first one is the bridge's own."""
        return str(self.subnet[number])

    def start(self, image: str, number: int, *arguments: str, options: tuple[str, ...] = ()) -> Service:
        """A bounded container at that address."""
        placed = ("--detach", "--network", self.name, "--ip", self.address(number), *_BOUNDS, *options)
        return Service(self.docker, self.docker.call("run", *placed, image, *arguments), self.address(number))


@dataclass(frozen=True)
class Service:
    """One container."""

    docker: Docker
    identity: str
    address: str

    def await_until(self, ready: Callable[[], bool]) -> None:
        """RuntimeError with the container's last words where it ends first, or takes too long."""
        deadline = time.monotonic() + _READY_S
        while not ready():
            if self._state() != "running" or time.monotonic() > deadline:
                raise RuntimeError(f"{self.address} does not come up ({self._state()}):\n{self.logs()[-3000:]}")
            time.sleep(0.2)

    def signal(self, name: str) -> None:
        self.docker.call("kill", "--signal", name, self.identity)

    def logs(self) -> str:
        done = subprocess.run(
            [self.docker.client, "logs", self.identity],
            env=self.docker.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def remove(self) -> None:
        self.docker.call("rm", "--force", "--volumes", self.identity)

    def _state(self) -> str:
        return self.docker.call("inspect", "--format", "{{.State.Status}}", self.identity)


@dataclass(frozen=True)
class S3:
    """Ceph's gateway, with a user and a bucket of the same name for each of `keys`."""

    service: Service
    keys: dict[str, Key]

    @property
    def endpoint(self) -> str:
        return f"http://{self.service.address}:9000"

    def client(self, user: str) -> Minio:
        key = self.keys[user]
        return Minio(f"{self.service.address}:9000", key.access_key, key.secret_key, secure=False, region="us-east-1")

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(self.endpoint, timeout=5).status_code < 500
        return False

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The gateway is killed: connections break, and new ones are refused. What was stored stays."""
        self.service.signal("USR1")
        self.service.await_until(lambda: not self.answers())
        try:
            yield
        finally:
            self.service.signal("USR2")
            self.service.await_until(self.answers)


@dataclass(frozen=True)
class Mlflow:
    """The tracking image's server, its artifacts in the bucket `mlflow`."""

    service: Service
    admin_password: str
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"http://{self.service.address}:5000"

    def is_healthy(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=5).ok
        return False

    def ask(self, method: str, path: str, body: dict[str, object]) -> requests.Response:
        """The administrator asks."""
        where = f"{self.url}/api/2.0/mlflow/{path}"
        return requests.request(method, where, json=body, auth=("admin", self.admin_password), timeout=60)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The server is killed; its data and its address stay."""
        self.service.signal("KILL")
        try:
            yield
        finally:
            self.service.docker.call("start", self.service.identity)
            self.service.await_until(self.is_healthy)


@contextlib.contextmanager
def network(docker: Docker) -> Iterator[Network]:
    """A network of its own, gone afterwards with all that is still on it."""
    name = f"deepperception-{uuid.uuid4().hex[:12]}"
    # Fixed addresses want a range that was asked for: the engine chooses a free one, which is then asked for.
    docker.call("network", "create", "--internal", name)
    subnet = docker.call("network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", name)
    docker.call("network", "rm", name)
    docker.call("network", "create", "--internal", "--subnet", subnet, name)
    try:
        yield Network(docker, name, ipaddress.IPv4Network(subnet))
    finally:
        for identity in docker.call("ps", "--all", "--quiet", "--filter", f"network={name}").split():
            with contextlib.suppress(CommandFailed):  # it removed itself
                docker.call("rm", "--force", "--volumes", identity)
        docker.call("network", "rm", name)


def s3_image(docker: Docker, base: str) -> str:
    """The image of the S3 server, built where the engine does not have it. CommandFailed where that cannot be."""
    told = f"{docker.image_id(base)} {(HERE / 's3_image' / 'Dockerfile').read_text(encoding='utf-8')}"
    image = f"deepperception/test-s3:{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if docker.image_id(image) is None:
        docker.call(
            *("build", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--tag", image),
            str(HERE / "s3_image"),
        )
    return image


@contextlib.contextmanager
def s3(network: Network, image: str, *users: str) -> Iterator[S3]:
    """The S3 server at the network's second address."""
    program = ("--volume", f"{HERE / 'rgw.py'}:/rgw.py:ro")
    command = ["python3.11", "/rgw.py", "--address", "0.0.0.0", "--port", "9000", "--keys", "/tmp/keys.json"]
    command += [part for user in users for part in ("--user", user)]
    service = network.start(image, 2, *command, options=program)
    try:
        service.await_until(lambda: '"endpoint"' in service.logs())
        told = json.loads(network.docker.call("exec", service.identity, "cat", "/tmp/keys.json"))
        server = S3(service, {user: Key(**key) for user, key in told.items()})
        for user in users:
            server.client(user).make_bucket(user)
        yield server
    finally:
        service.remove()


@contextlib.contextmanager
def mlflow(network: Network, image: str, store: S3, folder: Path) -> Iterator[Mlflow]:
    """MLflow at the network's third address, with one user beside its administrator."""
    auth, password = folder / "auth.ini", secrets.token_urlsafe(24)
    auth.write_text(_AUTH)
    auth.chmod(0o644)  # it holds no secret, and another user reads it
    variables = {
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////work/mlflow.db",
        "MLFLOW_AUTH_CONFIG_PATH": "/etc/mlflow.ini",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{network.address(3)}:5000",
        "MLFLOW_S3_ENDPOINT_URL": store.endpoint,
        "AWS_ACCESS_KEY_ID": store.keys["mlflow"].access_key,
        "AWS_SECRET_ACCESS_KEY": store.keys["mlflow"].secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    options = ["--volume", "/work", "--volume", f"{auth}:/etc/mlflow.ini:ro"]
    for name, value in variables.items():
        options += ["--env", f"{name}={value}"]
    command = ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--app-name", "basic-auth"]
    command += ["--serve-artifacts", "--artifacts-destination", "s3://mlflow/artifacts"]
    service = network.start(image, 3, *command, options=tuple(options))
    try:
        server = Mlflow(service, password, "runs", secrets.token_urlsafe(24))
        service.await_until(server.is_healthy)
        server.ask("POST", "users/create", {"username": server.user, "password": server.password}).raise_for_status()
        yield server
    finally:
        service.remove()
