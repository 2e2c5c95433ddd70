"""Whether the NetworkPolicies let through what the configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from deepperception.platform.deploy.objects import Labels, Object, Pod, key, matches, of_kind
from deepperception.platform.deploy.policies import Rendered
from deepperception.platform.deploy.references import addresses, behind, target_port, texts_of

Direction = Literal["Ingress", "Egress"]


@dataclass(frozen=True)
class End:
    """One end of a connection."""

    namespace: str
    labels: Labels


DNS = End("kube-system", {"k8s-app": "kube-dns"})


def flows_are_allowed(rendered: Rendered) -> Iterator[str]:
    """Each address in a pod's configuration is allowed by the policies of both ends, and so is looking it up."""
    services = {key(each): each for each in of_kind(rendered.objects, "Service")}
    for pod in rendered.pods:
        source = End(pod.namespace, pod.labels)
        named = {address for text in texts_of(pod, rendered) for address in addresses(text)}
        if named and not allows(rendered, "Egress", source, DNS, 53, "UDP"):
            yield f"{pod.owner}: it may not look up names; allow egress to DNS."
        for address in sorted(named, key=str):
            service = services.get((address.namespace, address.service))
            for target in behind(service, rendered) if service else []:
                if target.owner != pod.owner:
                    yield from _blocked(rendered, pod, target, service or {}, address.port)


def _blocked(rendered: Rendered, pod: Pod, target: Pod, service: Object, port: int | None) -> Iterator[str]:
    source, sink = End(pod.namespace, pod.labels), End(target.namespace, target.labels)
    for each in service["spec"]["ports"]:
        number = target_port(each, target)
        if number is None or port not in (None, each["port"]):
            continue
        if not allows(rendered, "Egress", source, sink, number):
            yield f"{pod.owner}: its policies do not let it out to {target.owner}, port {number}."
        if not allows(rendered, "Ingress", sink, source, number):
            yield f"{target.owner}: its policies do not let {pod.owner} in at port {number}."


def allows(rendered: Rendered, direction: Direction, at: End, peer: End, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies at one end let the other through; where no policy selects the end, all is let through."""
    chosen = [
        policy["spec"]
        for policy in of_kind(rendered.objects, "NetworkPolicy")
        if policy["metadata"]["namespace"] == at.namespace
        and direction in policy["spec"].get("policyTypes", [])
        and matches(policy["spec"].get("podSelector"), at.labels)
    ]
    if not chosen:
        return True
    side, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _takes_port(rule, port, protocol) and _takes_peer(rule.get(peers), at, peer, rendered)
        for spec in chosen
        for rule in spec.get(side) or []
    )


def _takes_port(rule: Object, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == protocol
        and each.get("port", port) <= port <= each.get("endPort", each.get("port", port))
        for each in ports
        if not isinstance(each.get("port"), str)
    )


def _takes_peer(peers: list[Object] | None, at: End, peer: End, rendered: Rendered) -> bool:
    if not peers:
        return True
    namespace = _labels_of(peer.namespace, rendered)
    for each in peers:
        if "ipBlock" in each:  # of pods nobody knows the address
            continue
        inside = (
            matches(each["namespaceSelector"], namespace)
            if "namespaceSelector" in each
            else peer.namespace == at.namespace
        )
        if inside and matches(each.get("podSelector"), peer.labels):
            return True
    return False


def _labels_of(namespace: str, rendered: Rendered) -> Labels:
    given = {
        name: value
        for each in of_kind(rendered.objects, "Namespace")
        if each["metadata"]["name"] == namespace
        for name, value in each["metadata"].get("labels", {}).items()
    }
    return {**given, "kubernetes.io/metadata.name": namespace}
