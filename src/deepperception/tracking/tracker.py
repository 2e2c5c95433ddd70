"""One experiment's runs, and the registry of versions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from deepperception.errors import InputError
from deepperception.tracking.client import database, import_quietly, is_server, is_there, open_client, pages
from deepperception.tracking.failures import patient, reporting
from deepperception.tracking.record import Pipeline
from deepperception.tracking.references import referenced
from deepperception.tracking.runs import Runs

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MODEL = "deepperception"
PATIENCE = "DEEPPERCEPTION_TRACKING_PATIENCE_S"
_PATIENCE_S = 300.0
_DIGEST, _URI = "digest", "uri"
ORIGIN = ("data", "recipe_hash", "code_version", "release", "commit", "image")
"""Tags that say where something comes from; a version has them from the run that made the model."""


@dataclass(frozen=True)
class Version:
    """A registered version of a model: where its bytes are, not the bytes."""

    number: int
    uri: str
    digest: str
    run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)


class Tracker:
    """Records of one experiment, in a database file (`sqlite:///PATH`, no server) or on a server.

    Files go to the folder `mlflow-artifacts` beside the database file, or where the server keeps them. The registry,
    and all that cannot go on without MLflow, waits for a server that is away: at most `patience_s`, then
    InfrastructureError. `runs` does not wait: what it cannot write may be written later (`Outbox`).
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        create: bool = True,
        patience_s: float | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Open the records, and make them where there are none: or, with `create=False`, raise InputError.

        InfrastructureError where a database cannot be opened; a server is not asked yet. `patience_s`: by default
        the environment's DEEPPERCEPTION_TRACKING_PATIENCE_S, else five minutes. `say` is told of waiting.
        """
        self.uri, self.patience_s = uri, _patience_s() if patience_s is None else patience_s
        self.say = say or (lambda _: None)
        if not create and not is_there(uri):  # a mistyped folder is no empty registry
            raise InputError(f"{database(uri)}: there is no such database; give the folder of a run with --out.")
        import_quietly()  # before anything else of MLflow is imported
        self._client = self._open()
        self.runs = Runs(self._client, uri, experiment)

    @patient
    def pipeline_run(self, pipeline: Pipeline, attach_to: str | None = None) -> str:
        """The id of the run of a whole pipeline, found again by its key, or begun; it is open afterwards."""
        return self.runs.open_pipeline(pipeline, attach_to)

    @reporting
    def break_off(self, key: str, status: Literal["FAILED", "KILLED"]) -> None:
        """Close a pipeline's run that came to no end; nothing happens where it never began."""
        self.runs.break_off(key, status)

    @patient
    def register(self, name: str, uri: str, digest: str, run_id: str | None, tags: Mapping[str, str]) -> int:
        """The number of the version with this digest, made where there is none; its tags are brought up to date.

        What is known of where the model comes from (ORIGIN) is taken from the run that made it: the run `run_id`, or
        else the first one on record that made this digest.
        """
        self._ensure_model(name)
        made_by = (self.runs.find(run_id) if run_id else None) or self.runs.find_by_digest(digest)
        run_id = str(made_by.info.run_id) if made_by else None
        origin = {key: value for key, value in made_by.data.tags.items() if key in ORIGIN} if made_by else {}
        if not self._versions(name, digest):
            # A server takes no file:// as a source: a folder of its clients is nothing that it could open.
            source = f"store:/{digest}" if uri.startswith("file:") and is_server(self.uri) else uri
            known = {**origin, **tags, _DIGEST: digest, _URI: uri}
            self._client.create_model_version(name, source=source, run_id=run_id, tags=known)
        first, *doubles = self._versions(name, digest)
        self._drop(name, doubles)
        missing = {key: value for key, value in origin.items() if key not in first.tags}
        for key, value in {**missing, **tags}.items():
            if first.tags.get(key) != value:
                self._client.set_model_version_tag(name, str(first.number), key, value)
        return first.number

    @patient
    def alias(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to; None where there is no such alias or model."""
        for model in self._client.search_registered_models(f"name = '{name}'"):
            if alias in model.aliases:
                return _version(self._client.get_model_version(name, str(model.aliases[alias])))
        return None

    @patient
    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; from one moment to the next."""
        self._client.set_registered_model_alias(name, alias, str(version))

    @patient
    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; nothing happens where it is not there."""
        self._client.delete_registered_model_alias(name, alias)

    @patient
    def versions(self, name: str) -> list[Version]:
        """All versions, oldest first."""
        return self._versions(name)

    @patient
    def referenced(self, *, since_s: float) -> set[str]:
        """Every digest that a registered version names, or a run that was alive after `since_s` (Unix time)."""
        return referenced(self._client, since_s=since_s)

    @reporting
    def _open(self) -> MlflowClient:
        return open_client(self.uri)

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        if any(model.name == name for model in self._client.search_registered_models(f"name = '{name}'")):
            return
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise

    def _drop(self, name: str, doubles: Sequence[Version]) -> None:
        """Delete versions that a request sent twice, or two processes at once, made; never one that an alias names."""
        if doubles:
            named = {str(number) for number in self._client.get_registered_model(name).aliases.values()}
            for double in doubles:
                if str(double.number) not in named:
                    self._client.delete_model_version(name, str(double.number))

    def _versions(self, name: str, digest: str | None = None) -> list[Version]:
        wanted = f"name = '{name}'" + (f" and tags.{_DIGEST} = '{digest}'" if digest else "")
        found = pages(lambda token: self._client.search_model_versions(wanted, page_token=token))
        return sorted(map(_version, found), key=lambda version: version.number)


def _version(version: Any) -> Version:
    tags = dict(version.tags)
    uri, digest = tags.get(_URI, version.source), tags.get(_DIGEST, "")
    return Version(int(version.version), uri, digest, version.run_id or None, tags)


def _patience_s() -> float:
    given = os.environ.get(PATIENCE, "")
    try:
        return float(given) if given else _PATIENCE_S
    except ValueError:
        raise InputError(f"{PATIENCE}: '{given}' is no number of seconds.") from None
