"""All rules over one overlay, and all breaches at once."""

from __future__ import annotations

from collections.abc import Iterator

from deepperception.platform.deploy import flows, policies, references, schemas
from deepperception.platform.deploy.objects import Object
from deepperception.platform.deploy.policies import Rendered, Rule
from deepperception.platform.deploy.secrets import planned

RULES: tuple[Rule, ...] = (
    policies.images_are_pinned,
    policies.resources_are_bounded,
    policies.pods_are_restricted,
    policies.no_secret_data,
    policies.roles_name_what_they_need,
    policies.every_pod_is_behind_a_policy,
    flows.flows_are_allowed,
    references.references_resolve,
    references.services_reach_a_pod,
    references.addresses_exist,
    references.backends_and_probes_exist,
)


def beside_secrets(objects: list[Object]) -> Rendered:
    """The objects and the Secrets that a deploy makes, with example values: their addresses are the real ones."""
    made = planned({}, make=lambda: "0" * 48)
    return Rendered(objects, {(each.namespace, each.name): each.data for each in made})


def breaches(objects: list[Object]) -> Iterator[str]:
    """What is wrong with an overlay: schemas of every supported Kubernetes version first, then the rules."""
    for version in schemas.KUBERNETES:
        yield from schemas.breaches(objects, version)
    rendered = beside_secrets(objects)
    for rule in RULES:
        yield from rule(rendered)
