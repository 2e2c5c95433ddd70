"""Kubeflow Pipelines' API in memory, over HTTP: as much of version 2.17 as the command line asks of it.

With the API's own description at hand, every request and every answer is checked against it; what does not fit is kept
in `violations`, for a test to assert that there are none.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PREFIX = "/apis/v2beta1"
Answer = tuple[int, dict[str, Any]]


class StandIn:
    """What an installation holds, and the rules that it keeps."""

    def __init__(self, *, many_users: bool = True, description: dict[str, Any] | None = None, token: str = "") -> None:
        self.many_users, self.token = many_users, token
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, str] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.tag = "2.17.0"
        self.broken: str = ""
        """Where it is set, every request but that for health is answered with 500 and this word."""
        self.violations: list[str] = []
        self._check = _Description(description) if description else None

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        """Status and JSON for one request."""
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.asked.append(f"{method} {parts.path}")
        if parts.path == "/apis/v1beta1/healthz":  # of the older API, which the description leaves out
            return 200, {"commit_sha": "unknown", "tag_name": self.tag, "multi_user": self.many_users}
        content: Any = None
        if headers.get("Content-Type", "").startswith("multipart/form-data"):
            content = _uploaded(headers["Content-Type"], body)
        elif body:
            content = json.loads(body)
        if self._check:
            self.violations += self._check.request(method, parts.path, query, content)
        status, answer = self._answer(method, parts.path.removeprefix(PREFIX), query, content, headers)
        if self._check and status == 200:
            self.violations += self._check.response(method, parts.path, answer)
        return status, answer

    def _answer(self, method: str, path: str, query: dict[str, str], content: Any, headers: Any) -> Answer:
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "Unauthenticated: there is no user identity header.")
        if path == "/healthz":
            return 200, {"multi_user": self.many_users, "pipeline_store": "database"}
        if self.broken:
            return _error(500, self.broken)
        namespace = query.get("namespace") or (content or {}).get("namespace") if method != "GET" or query else None
        if namespace and not self.many_users:
            return _error(400, "In single-user mode, the namespace must be empty.")
        for pattern, verb, handler in self._routes():
            if method == verb and (match := re.fullmatch(pattern, path)):
                return handler(query, content, *match.groups())
        return _error(404, f"{method} {path} is not implemented")

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        return [
            ("/pipelines", "GET", lambda query, _: _listed("pipelines", self.pipelines, query)),
            ("/pipelines", "POST", self._create_pipeline),
            ("/pipelines/upload", "POST", self._upload),
            ("/pipelines/upload_version", "POST", self._upload_version),
            ("/pipelines/([^/]+)/versions", "GET", self._list_versions),
            ("/experiments", "GET", lambda query, _: _listed("experiments", self.experiments, query)),
            ("/experiments", "POST", self._create_experiment),
            ("/runs", "GET", lambda query, _: _listed("runs", self.runs, query)),
            ("/runs", "POST", self._create_run),
            ("/runs/([^/]+)", "GET", self._get_run),
        ]

    def _create_pipeline(self, _: Any, content: dict[str, Any]) -> Answer:
        if any(known["name"] == content["name"] for known in self.pipelines.values()):
            return _error(409, f"the pipeline {content['name']} exists already")
        return 200, _kept(self.pipelines, "pipeline_id", content)

    def _upload(self, query: dict[str, str], content: dict[str, str]) -> Answer:
        status, made = self._create_pipeline(None, {"name": query["name"], "display_name": query["name"]})
        if status == 200:
            self._upload_version({"pipelineid": made["pipeline_id"], "name": query["name"]}, content)
        return status, made

    def _upload_version(self, query: dict[str, str], content: dict[str, str]) -> Answer:
        if query["pipelineid"] not in self.pipelines:
            return _error(404, "there is no such pipeline")
        made = {"pipeline_id": query["pipelineid"], "name": query["name"], "display_name": query["name"]}
        if any(known.items() >= made.items() for known in self.versions.values()):
            return _error(409, f"the version {query['name']} exists already")
        kept = _kept(self.versions, "pipeline_version_id", made)
        self.packages[kept["pipeline_version_id"]] = content["uploadfile"]
        return 200, kept

    def _list_versions(self, query: dict[str, str], _: Any, pipeline: str) -> Answer:
        held = {key: known for key, known in self.versions.items() if known["pipeline_id"] == pipeline}
        return _listed("pipeline_versions", held, query)

    def _create_experiment(self, _: Any, content: dict[str, Any]) -> Answer:
        return 200, _kept(self.experiments, "experiment_id", content)

    def _create_run(self, _: Any, content: dict[str, Any]) -> Answer:
        reference = content.get("pipeline_version_reference", {})
        if "pipeline_spec" not in content and reference.get("pipeline_version_id") not in self.versions:
            return _error(404, "there is no such pipeline version")
        return 200, _kept(self.runs, "run_id", {**content, "state": "PENDING"})

    def _get_run(self, _: Any, __: Any, run_id: str) -> Answer:
        return (200, self.runs[run_id]) if run_id in self.runs else _error(404, f"Run {run_id} not found")


@contextmanager
def served(stand_in: StandIn) -> Iterator[str]:
    """The stand-in's URL, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = stand_in.answer(self.command, self.path, self.headers, body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Description:
    """The API's own description (Swagger 2.0), made strict: what it does not name is not allowed."""

    def __init__(self, swagger: dict[str, Any]) -> None:
        self._swagger = json.loads(json.dumps(swagger))
        for definition in self._swagger["definitions"].values():
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)

    def request(self, method: str, path: str, query: dict[str, str], content: Any) -> Iterator[str]:
        """What is wrong with it."""
        operation = self._operation(method, path)
        if operation is None:
            yield f"{method} {path}: there is no such operation"
            return
        known = {parameter["name"]: parameter for parameter in operation.get("parameters", [])}
        for name in query:
            if known.get(name, {}).get("in") != "query":
                yield f"{method} {path}: it takes no query parameter '{name}'"
        forms = {name for name, parameter in known.items() if parameter["in"] == "formData"}
        if forms and set(content) != forms:
            yield f"{method} {path}: the form holds {set(content)} and should hold {forms}"
        for parameter in known.values():
            if parameter["in"] == "body":
                yield from self._faults(f"{method} {path}", content, parameter["schema"])

    def response(self, method: str, path: str, answer: dict[str, Any]) -> Iterator[str]:
        """What is wrong with a good answer."""
        operation = self._operation(method, path)
        if operation is not None:
            yield from self._faults(f"answer to {method} {path}", answer, operation["responses"]["200"]["schema"])

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        fitting = [
            (form.count("{"), verbs[method.lower()])
            for form, verbs in self._swagger["paths"].items()
            if method.lower() in verbs and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/:]+", form), path)
        ]
        return min(fitting, key=lambda pair: pair[0])[1] if fitting else None

    def _faults(self, where: str, content: Any, schema: dict[str, Any]) -> Iterator[str]:
        from jsonschema import Draft4Validator

        whole = {**schema, "definitions": self._swagger["definitions"]}
        for fault in Draft4Validator(whole).iter_errors(content):
            yield f"{where}: {'.'.join(map(str, fault.absolute_path))}: {fault.message}"


def _kept(held: dict[str, dict[str, Any]], key: str, content: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    made = {**{name: value for name, value in content.items() if value is not None}, "created_at": now}
    made[key] = str(uuid.uuid4())
    held[made[key]] = made
    return made


def _listed(name: str, held: dict[str, dict[str, Any]], query: dict[str, str]) -> Answer:
    wanted = [
        (predicate["key"], predicate["stringValue"])
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", [])
        if predicate["operation"] in ("EQUALS", 1)
    ]
    found = [entry for entry in held.values() if all(entry.get(key) == value for key, value in wanted)]
    if query.get("sort_by") == "created_at desc":
        found.reverse()
    found = found[: int(query.get("page_size", 10))]
    return 200, {name: found, "total_size": len(found)} if found else {}


def _error(status: int, message: str) -> Answer:
    return status, {"code": 3, "message": message, "details": []}


def _uploaded(kind: str, body: bytes) -> dict[str, str]:
    """Form field -> content."""
    message = email.message_from_bytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.default
    )
    return {
        str(part.get_param("name", header="content-disposition")): (part.get_payload(decode=True) or b"").decode()
        for part in message.iter_parts()
    }
