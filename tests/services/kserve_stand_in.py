"""A cluster that serves, in memory, over HTTP: Kubernetes' API for what a release asks of it, and KServe's controller.

The API keeps objects by resourceVersion, refuses what the caller's Role does not allow, what KServe's schema does not
know (where the schema is at hand), and what its webhook refuses. The controller plays KServe 0.20 in Standard mode,
its traps included: it sends requests to a canary that is not ready, gives a canary at 0 % no pod unless `minReplicas`
says so, and restarts every pod where an annotation of the InferenceService changed.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, Any]]
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>.+))?"
)
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SERVICES = "inferenceservices"


@dataclass
class Rule:
    """What a Role allows."""

    group: str
    resource: str
    verb: str


@dataclass
class StandIn:
    """The objects, and who may do what with them."""

    controller: Any
    """Told of every InferenceService; see revisions.py."""
    rules: list[Rule]
    schema: dict[str, Any] | None = None
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    quotas: list[dict[str, Any]] = field(default_factory=list)
    used: set[tuple[str, str, str]] = field(default_factory=set)
    """(group, resource, verb) of every request."""
    written: list[dict[str, Any]] = field(default_factory=list)
    """Every spec of the InferenceService that was accepted, oldest first."""
    broken: int = 0
    """So many of the next requests are answered with 503."""
    before_write: Callable[[str, dict[str, Any]], None] = lambda plural, content: None
    """Called with what is about to be replaced; a test's chance to come in between."""
    _version: int = 0
    _validator: Any = None
    _lock: Any = field(default_factory=threading.RLock)

    def answer(self, method: str, target: str, content: Any) -> Answer:
        """Status and JSON for one request."""
        parts = urlsplit(target)
        match = _PATH.fullmatch(parts.path)
        if match is None:
            return _error(404, f"{parts.path} is not implemented")
        group, plural, name = match["group"] or "", match["plural"], match["name"]
        verb = "list" if method == "GET" and name is None else _VERBS[method]
        self.used.add((group, plural, verb))
        if not any((rule.group, rule.resource, rule.verb) == (group, plural, verb) for rule in self.rules):
            return _error(403, f'{plural}.{group} is forbidden: cannot {verb} resource "{plural}"')
        if self.broken > 0:
            self.broken -= 1
            return _error(503, "the server is currently unable to handle the request")
        if method == "PUT":
            self.before_write(plural, content)
        with self._lock:
            if plural == "pods":
                selector = parse_qs(parts.query).get("labelSelector", [""])[0]
                return 200, {
                    "kind": "PodList",
                    "apiVersion": "v1",
                    "metadata": {},
                    "items": self.controller.pods(selector),
                }
            if plural == "resourcequotas":
                return 200, {"kind": "ResourceQuotaList", "apiVersion": "v1", "metadata": {}, "items": self.quotas}
            return self._object(method, plural, name, content)

    def _object(self, method: str, plural: str, name: str | None, content: Any) -> Answer:
        there = self.objects.get((plural, name or content["metadata"]["name"]))
        if method == "GET":
            if there is None:
                return _error(404, f"{plural} {name} not found")
            return 200, self._shown(plural, there)
        if method == "POST" and there is not None:
            return _error(409, f"{plural} already exists")
        if method == "PUT" and there is None:
            return _error(404, f"{plural} {name} not found")
        if method == "PUT" and content["metadata"].get("resourceVersion") != there["metadata"]["resourceVersion"]:
            return _error(409, "the object has been modified; please apply your changes to the latest version")
        if plural == _SERVICES and (fault := self._fault(content)):
            return _error(422, fault)
        return (201 if method == "POST" else 200), self._keep(plural, there, copy.deepcopy(content))

    def _keep(self, plural: str, before: dict[str, Any] | None, content: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        metadata = content["metadata"]
        old = before["metadata"] if before else {}
        changed = before is None or before["spec"] != content["spec"]
        metadata["generation"] = old.get("generation", 0) + changed
        metadata["resourceVersion"] = str(self._version)
        content.pop("status", None)
        self.objects[plural, metadata["name"]] = content
        if plural == _SERVICES:
            if changed:
                self.written.append(copy.deepcopy(content["spec"]))
            restart = bool(before) and old.get("annotations") != metadata.get("annotations")
            self.controller.reconcile(metadata["name"], content["spec"], restart=restart)
        return self._shown(plural, content)

    def _shown(self, plural: str, content: dict[str, Any]) -> dict[str, Any]:
        shown = copy.deepcopy(content)
        if plural == _SERVICES:
            shown["status"] = {
                **self.controller.status(content["metadata"]["name"], content["spec"]),
                "observedGeneration": content["metadata"]["generation"],
                "deploymentMode": "Standard",
            }
            if fault := self._schema_fault(shown):
                raise AssertionError(f"the stand-in's own status is not KServe's: {fault}")
        return shown

    def _fault(self, content: dict[str, Any]) -> str | None:
        """What KServe's schema or its webhook refuses."""
        if fault := self._schema_fault(content):
            return fault
        spec = content["spec"]
        canaries = spec.get("canary", [])
        names = [entry["predictor"].get("name") for entry in canaries]
        if content["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") != "Standard":
            return "canary is only supported in Standard mode"
        if not all(names) or len({*names, spec["predictor"].get("name")}) <= len(names):
            return "a canary needs a predictor.name of its own"
        if sum(entry["trafficPercent"] for entry in canaries) > 100:
            return "the canaries' trafficPercent exceed 100"
        scaled = {"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"}
        if spec["predictor"].get("model", {}).get("name"):
            return "the 'name' field is not allowed in standard predictor"
        if any(scaled & entry["predictor"].keys() for entry in canaries):
            return "a canary must not set autoscaling fields"
        return None

    def _schema_fault(self, content: dict[str, Any]) -> str | None:
        if self.schema is None:
            return None
        from jsonschema import Draft202012Validator

        self._validator = self._validator or Draft202012Validator(self.schema)
        faults = [error.message for error in self._validator.iter_errors(content)]
        return "; ".join(faults) or None


@contextmanager
def served(stand_in: StandIn) -> Iterator[str]:
    """The stand-in's URL, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = stand_in.answer(self.command, self.path, json.loads(body) if body else None)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, address: Any) -> None:
            """A client that was killed leaves a broken connection behind; that is what these tests do."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(path: Path, url: str) -> Path:
    """A kubeconfig that leads to the stand-in."""
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
                "users": [{"name": "release", "user": {}}],
                "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "release"}}],
                "current-context": "stand-in",
            }
        )
    )
    return path


def _error(status: int, message: str) -> Answer:
    return status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}
