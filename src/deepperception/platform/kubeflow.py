"""Kubeflow Pipelines' API, through its own client: bounded in time, and every failure in one sentence."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra_pools import Kubeflow

TOKEN = "DEEPPERCEPTION_KFP_TOKEN"
"""Environment variable: a bearer token, where the API asks for one."""
_TIMEOUT_S = (5.0, 60.0)  # to connect, to answer; a package of 100 kB is what is sent
_REFUSED = (401, 403)
_LONGEST_HEALTH = 1 << 16  # bytes


class Pipelines:
    """What the command line asks of one installation. InfrastructureError where it does not answer as it should."""

    def __init__(self, where: Kubeflow) -> None:
        """Connect; InputError where it does not take our word."""
        self._where = where
        with self._told("asked for its health"):
            self.many_users = _is_for_many_users(where)
            self._client = _client(where, self.many_users)
        self.namespace = where.namespace if self.many_users else None
        """As the API wants it: an installation for one user runs everything in its own, and refuses to be told one."""

    def installed(self) -> str | None:
        """The version, as 2.17.0; None where the installation does not tell it."""
        # The newer API's health has no word on it; both APIs are served side by side.
        request = urllib.request.Request(f"{self._where.endpoint.rstrip('/')}/apis/v1beta1/healthz")
        if token := os.environ.get(TOKEN):
            request.add_header("authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S[0]) as answer:
                told = str(json.loads(answer.read(_LONGEST_HEALTH))["tag_name"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        version = re.search(r"\d+\.\d+\.\d+", told)
        return version[0] if version else None

    def pipeline(self, name: str) -> str | None:
        """The id of the pipeline of that name."""
        with self._told("asked for its pipelines"):
            found = self._client.list_pipelines(filter=_named(name), namespace=self.namespace).pipelines
        return str(found[0].pipeline_id) if found else None

    def create_pipeline(self, name: str, description: str) -> str:
        """Its id."""
        from kfp_server_api import V2beta1Pipeline

        wanted = V2beta1Pipeline(name=name, display_name=name, description=description, namespace=self.namespace)
        with self._told("given a pipeline"):
            made = self._client._pipelines_api.pipeline_service_create_pipeline(wanted)
        return str(made.pipeline_id)

    def version(self, pipeline: str, name: str) -> str | None:
        """The id of the pipeline's version of that name."""
        with self._told("asked for its pipeline versions"):
            found = self._client.list_pipeline_versions(pipeline, filter=_named(name)).pipeline_versions
        return str(found[0].pipeline_version_id) if found else None

    def upload_version(self, pipeline: str, name: str, package: Path) -> str:
        """Its id."""
        with self._told("given a pipeline version"):
            made = self._client.upload_pipeline_version(str(package), name, pipeline_id=pipeline)
        return str(made.pipeline_version_id)

    def start(
        self, name: str, *, experiment: str, pipeline: str, version: str, arguments: dict[str, Any], account: str
    ) -> str:
        """The id of a new run."""
        with self._told("asked to start a run"):
            group = self._client.create_experiment(experiment, namespace=self.namespace)
            run = self._client.run_pipeline(
                group.experiment_id,
                name,
                params=arguments,
                pipeline_id=pipeline,
                version_id=version,
                service_account=account,
            )
        return str(run.run_id)

    def runs(self, name: str | None = None, count: int = 10) -> list[Any]:
        """The newest runs, of that name; newest first."""
        wanted = _named(name) if name else None
        with self._told("asked for its runs"):
            found = self._client.list_runs(
                page_size=count, sort_by="created_at desc", namespace=self.namespace, filter=wanted
            )
        return list(found.runs or [])

    def run(self, run_id: str) -> Any:
        """With its tasks; InputError where there is no such run."""
        with self._told("asked for a run", absent=f"{run_id}: there is no such run"):
            return self._client.get_run(run_id)

    def link(self, run_id: str) -> str:
        """To the run's page; empty where no address of pages is known."""
        return f"{self._where.ui.rstrip('/')}/#/runs/details/{run_id}" if self._where.ui else ""

    @contextlib.contextmanager
    def _told(self, action: str, absent: str | None = None) -> Iterator[None]:
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        endpoint = self._where.endpoint
        try:
            # The client prints links and warns of its own version.
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                yield
        except ApiException as error:
            if error.status == 404 and absent:
                raise InputError(f"{endpoint}: {absent}; `deepperception status --infra FILE` lists them.") from None
            why = f"{endpoint}: {action}, it answered {error.status} ({_reason(error)})"
            if error.status in _REFUSED:
                raise InputError(f"{why}; give a token in {TOKEN}, or rights to it.") from None
            raise InfrastructureError(f"{why}; look at its log, and run again.") from None
        except (HTTPError, OSError, ValueError) as error:
            why = _root_cause(error)
            raise InfrastructureError(
                f"{endpoint}: Kubeflow Pipelines does not answer ({why}); is kubeflow.endpoint right, and is it up?"
            ) from None


def _client(where: Kubeflow, many_users: bool) -> Any:
    from kfp import Client

    # With a namespace of its own, the client's constructor does not wait for the API by itself.
    client = Client(
        where.endpoint,
        namespace=where.namespace if many_users else "kubeflow",
        existing_token=os.environ.get(TOKEN),
        ui_host=where.ui,
    )
    _bound(client._run_api.api_client)
    return client


def _is_for_many_users(where: Kubeflow) -> bool:
    import kfp_server_api

    config = kfp_server_api.Configuration()
    config.host = where.endpoint.rstrip("/")
    if token := os.environ.get(TOKEN):
        config.api_key["authorization"], config.api_key_prefix["authorization"] = token, "Bearer"
    api = kfp_server_api.ApiClient(config)
    _bound(api)
    return bool(kfp_server_api.HealthzServiceApi(api).healthz_service_get_healthz().multi_user)


def _bound(api: Any) -> None:
    """Give every request of the generated client a time limit; its own default is none, whatever the pool says."""
    rest = api.rest_client
    plain = rest.request

    def request(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **{**kwargs, "_request_timeout": kwargs.get("_request_timeout") or _TIMEOUT_S})

    rest.request = request
    rest.pool_manager.connection_pool_kw["retries"] = False  # a second try would be logged, and waited for


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _reason(error: Any) -> str:
    """What the API says in its body, in one line; else the status' own word."""
    try:
        body = json.loads(error.body)
        told = cast(str, body.get("message") or body.get("error") or error.reason)
    except (TypeError, ValueError, AttributeError):
        told = error.reason or "no reason given"
    return " ".join(str(told).split())[:300]


def _root_cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return " ".join(str(reason or error or type(error).__name__).split())[:200]
