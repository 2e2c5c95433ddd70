"""`make deploy` and `make undeploy`, from the overlay to the last line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.platform.deploy import checks, cluster, pipelines, prerequisites, readiness, secrets
from deepperception.platform.deploy.images import built, with_images
from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.objects import Object, key, of_kind, render
from deepperception.platform.deploy.schemas import is_built_in
from deepperception.platform.deploy.secrets import Secret
from deepperception.platform.deploy.waves import in_waves, with_named_jobs

Say = Callable[[str], None]
_PLACEHOLDER = (".example.org", ".example.com")
_HOLDS_DATA = ("Namespace", "PersistentVolumeClaim")


@dataclass(frozen=True)
class Options:
    """Where to and how."""

    overlay: Path
    prerequisites: Path
    deadline_s: float
    infra: Infra | None = None
    """Where the pipelines are registered, and run."""
    images: Path | None = None
    """What `make images` lists; the manifests' own where none is given."""
    dry_run: bool = False


def deploy(options: Options, kubectl: Kubectl, say: Say, *, poll_s: float = 3.0) -> None:
    """Bring the cluster to what the overlay says, and wait until it runs; where it is so already, change nothing.

    InputError names all that is wrong with the overlay; InfrastructureError all that is wrong with the cluster.
    """
    objects = _checked(options, kubectl)
    say(f"{options.overlay}: {len(objects)} objects, valid, no policy broken")
    if options.dry_run:
        say(cluster.as_yaml(objects))
    if not cluster.is_reachable(kubectl):
        if not options.dry_run:
            raise InfrastructureError("no cluster answers kubectl; choose one with `kubectl config use-context NAME`.")
        _foretell(objects, say)
        return
    faults = list(prerequisites.faults(prerequisites.load(options.prerequisites), kubectl, objects))
    if faults and not options.dry_run:
        raise InfrastructureError("the cluster lacks what must be there first: " + " ".join(faults))
    for fault in faults:
        say(f"first: {fault}")

    existing = cluster.namespaces(kubectl)
    keys = secrets.planned(secrets.read_existing(kubectl, existing))
    named = with_named_jobs(objects, {(each.namespace, each.name): each.data for each in keys})
    # The types of what is not installed cannot be compared.
    known = [each for each in named if is_built_in(each) or not faults]
    change = cluster.compare(kubectl, known, existing)
    _tell_plan(change, keys, say)
    if options.dry_run:
        say("dry run: nothing was touched")
        return
    _refuse_placeholders(objects)

    if change.is_none and not any(secret.missing for secret in keys):
        readiness.wait(kubectl, named, options.deadline_s, say, poll_s=poll_s)
    else:
        cluster.delete(kubectl, change.failed)
        _apply(named, keys, options, kubectl, say, poll_s)
        cluster.delete(kubectl, change.outdated)
    pipelines.register(options.infra, say)
    _tell_where(objects, say)


def undeploy(overlay: Path, kubectl: Kubectl, say: Say, *, delete_data: bool, dry_run: bool) -> None:
    """Take the overlay's objects away. Volumes and Secrets stay, and so does what a later deploy goes on with.

    With `delete_data` the namespaces go, and all that is in them.
    """
    objects = render(kubectl, overlay)
    goes = [each for wave in reversed(in_waves(objects)) for each in wave.objects if each["kind"] not in _HOLDS_DATA]
    gone_with = of_kind(objects, "Namespace") if delete_data else []
    for name in cluster.listed([*goes, *gone_with]):
        say(f"- {name}")
    kept = of_kind(objects, *_HOLDS_DATA)
    say("all data go with the namespaces" if delete_data else f"kept: volumes, Secrets, and {_enumerated(kept)}")
    if dry_run:
        say("dry run: nothing was touched")
        return
    homes = {key(each)[0] for each in goes} & cluster.namespaces(kubectl)
    goes = [each for each in goes if key(each)[0] in homes and each["kind"] not in ("Job", "ConfigMap")]
    # These are found by their label: names hold a hash, and an older version may have left others.
    goes += cluster.replaced_kinds(kubectl, homes)
    cluster.delete(kubectl, [each for each in goes if is_built_in(each) or cluster.serves(kubectl, each)])
    cluster.delete(kubectl, gone_with)
    say("done" if delete_data else "done; `make deploy` goes on with the same data")


def _checked(options: Options, kubectl: Kubectl) -> list[Object]:
    objects = render(kubectl, options.overlay)
    if options.images:
        objects = with_images(objects, built(options.images))
    if found := list(dict.fromkeys(checks.breaches(objects))):
        raise InputError(f"{options.overlay} is not fit to deploy:\n  " + "\n  ".join(found))
    return objects


def _apply(
    objects: list[Object], keys: list[Secret], options: Options, kubectl: Kubectl, say: Say, poll_s: float
) -> None:
    for wave in in_waves(objects):
        say(f"applying {wave.name}: {len(wave.objects)} objects")
        cluster.apply(kubectl, wave.objects)
        if wave.name == "namespaces":
            for secret in keys:
                secrets.write(kubectl, secret)
        readiness.wait(kubectl, wave.objects, options.deadline_s, say, poll_s=poll_s)


def _foretell(objects: list[Object], say: Say) -> None:
    say("no cluster answers kubectl, so this is the plan for an empty one:")
    for wave in in_waves(objects):
        say(f"{wave.name}: {_enumerated(wave.objects)}")
    for secret in secrets.planned({}):
        say(f"generated once: {secret.title} ({', '.join(secret.data)})")
    say("Jobs get a hash of their content as a suffix. Dry run: nothing was touched")


def _tell_plan(change: cluster.Change, keys: list[Secret], say: Say) -> None:
    for name in cluster.listed(change.new):
        say(f"+ {name}")
    for secret in keys:
        if secret.missing:
            say(f"+ {secret.title}: {', '.join(secret.missing)}")
        if secret.differing:
            what = f"{secret.title}: {', '.join(secret.differing)} is not what the platform's Secrets say"
            say(f"! {what}; to take theirs, delete it and deploy again")
    if change.diff:
        say(change.diff.rstrip())
    for name in cluster.listed(change.outdated):
        say(f"- {name}")
    for name in cluster.listed(change.failed):
        say(f"- {name}: it had failed, and runs anew")
    if change.is_none and not any(secret.missing for secret in keys):
        say("no change")


def _refuse_placeholders(objects: list[Object]) -> None:
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"].get("rules", []):
            if rule.get("host", "").endswith(_PLACEHOLDER):
                raise InputError(f"{rule['host']} is a placeholder; write your host name into edge/ingress.yaml.")


def _tell_where(objects: list[Object], say: Say) -> None:
    hosts = [rule["host"] for each in of_kind(objects, "Ingress") for rule in each["spec"].get("rules", [])]
    for host in hosts:
        say(f"MLflow: https://{host}")
    if not hosts:
        say("MLflow: kubectl -n deepperception port-forward service/mlflow 5000, then http://localhost:5000")
    read = "kubectl -n deepperception get secret mlflow -o jsonpath='{.data.MLFLOW_AUTH_ADMIN_PASSWORD}' | base64 -d"
    say(f"  user admin; the password: {read}")
    say("Pipelines: kubectl -n kubeflow port-forward service/ml-pipeline-ui 8080:80, then http://localhost:8080")
    say("Models: kubectl -n deepperception-serving get inferenceservices")


def _enumerated(objects: list[Object]) -> str:
    return ", ".join(cluster.listed(objects))
