"""Rules on what objects say of each other: names, keys, ports and addresses must exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deepperception.platform.deploy.objects import Key, Object, Pod, key, matches, of_kind, title
from deepperception.platform.deploy.policies import Rendered

_ADDRESS = re.compile(r"\b([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?(?::(\d+))?")
OF_PREREQUISITES = {("kubeflow", "ml-pipeline"): {8887, 8888}}
"""Services that others install, and their ports."""


@dataclass(frozen=True)
class Address:
    """A Service that some text names; no port where the text gives none."""

    namespace: str
    service: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.service}.{self.namespace}.svc" + (f":{self.port}" if self.port else "")


def addresses(text: str) -> list[Address]:
    """The in-cluster addresses in a text."""
    return [Address(found[2], found[1], int(found[3]) if found[3] else None) for found in _ADDRESS.finditer(text)]


def texts_of(pod: Pod, rendered: Rendered) -> Iterator[str]:
    """All that configures a pod: variables, arguments, and the ConfigMaps and Secrets that it is given."""
    for container in pod.containers:
        yield from container.get("command", [])
        yield from container.get("args", [])
        yield from (str(variable.get("value", "")) for variable in container.get("env", []))
    for _, kind, name, wanted, _ in _given(pod):
        data = _known(kind, rendered).get((pod.namespace, name), {})
        yield from (text for entry, text in data.items() if wanted in (None, entry))


def secrets_of(pod: Pod) -> set[str]:
    """The names of the Secrets that a pod is given."""
    return {name for _, kind, name, _, _ in _given(pod) if kind == "Secret"}


def references_resolve(rendered: Rendered) -> Iterator[str]:
    """Secrets, ConfigMaps, their keys, volumes' claims and service accounts."""
    claims = {key(each) for each in of_kind(rendered.objects, "PersistentVolumeClaim")}
    accounts = {key(each) for each in of_kind(rendered.objects, "ServiceAccount")}
    for pod in rendered.pods:
        for where, kind, name, wanted, optional in _given(pod):
            data = _known(kind, rendered).get((pod.namespace, name))
            if data is None and not optional:
                yield f"{pod.owner}, {where}: there is no {kind} '{name}' in {pod.namespace}."
            elif data is not None and wanted and wanted not in data and not optional:
                yield f"{pod.owner}, {where}: {kind} '{name}' has no key '{wanted}'."
        for volume in pod.spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and (pod.namespace, claim) not in claims:
                yield f"{pod.owner}, volume {volume['name']}: there is no claim '{claim}' in {pod.namespace}."
        account = pod.spec.get("serviceAccountName")
        if account and (pod.namespace, account) not in accounts:
            yield f"{pod.owner}: there is no service account '{account}' in {pod.namespace}."
    for account_ in of_kind(rendered.objects, "ServiceAccount"):
        for secret in account_.get("secrets", []):
            if (key(account_)[0], secret["name"]) not in rendered.secrets:
                yield f"{title(account_)}: there is no Secret '{secret['name']}'."
    for binding in of_kind(rendered.objects, "RoleBinding"):
        role = (key(binding)[0], binding["roleRef"]["name"])
        if role not in {key(each) for each in of_kind(rendered.objects, binding["roleRef"]["kind"])}:
            yield f"{title(binding)}: there is no {binding['roleRef']['kind']} '{role[1]}'."
        for subject in binding["subjects"]:
            if subject["kind"] == "ServiceAccount" and (subject["namespace"], subject["name"]) not in accounts:
                yield f"{title(binding)}: there is no service account '{subject['name']}' in {subject['namespace']}."


def services_reach_a_pod(rendered: Rendered) -> Iterator[str]:
    """Each Service selects a pod, and each of its ports is one of every pod's that it selects."""
    for service in of_kind(rendered.objects, "Service"):
        chosen = behind(service, rendered)
        if not chosen:
            yield f"{title(service)}: it selects no pod."
        for pod in chosen:
            for port in service["spec"]["ports"]:
                if target_port(port, pod) is None:
                    wanted = port.get("targetPort", port["port"])
                    yield f"{title(service)}, port {port['port']}: {pod.owner} has no port '{wanted}'."


def addresses_exist(rendered: Rendered) -> Iterator[str]:
    """Each in-cluster address in a pod's configuration or a ConfigMap is a Service's, and so is its port."""
    seen = {
        (pod.owner, address) for pod in rendered.pods for text in texts_of(pod, rendered) for address in addresses(text)
    }
    for (namespace, name), data in rendered.config_maps.items():
        seen |= {(f"ConfigMap/{name} in {namespace}", each) for text in data.values() for each in addresses(text)}
    for owner, address in sorted(seen, key=str):
        ports = ports_of(address, rendered)
        if ports is None:
            yield f"{owner}: there is no Service for the address {address}."
        elif address.port and address.port not in ports:
            yield f"{owner}: the Service of {address} has no such port."


def backends_and_probes_exist(rendered: Rendered) -> Iterator[str]:
    """An Ingress leads to a Service's port and has its certificate made; a probe asks a port that the container has."""
    services = {key(each): each for each in of_kind(rendered.objects, "Service")}
    for ingress in of_kind(rendered.objects, "Ingress"):
        for rule in ingress["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                wanted = path["backend"]["service"]
                found = services.get((key(ingress)[0], wanted["name"]))
                ports = found["spec"]["ports"] if found else []
                if not any(wanted["port"] in ({"name": each.get("name")}, {"number": each["port"]}) for each in ports):
                    yield f"{title(ingress)}: there is no Service '{wanted['name']}' with the port {wanted['port']}."
        for tls in ingress["spec"].get("tls", []):
            made = any(name.startswith("cert-manager.io/") for name in ingress["metadata"].get("annotations", {}))
            if not made and (key(ingress)[0], tls["secretName"]) not in rendered.secrets:
                yield f"{title(ingress)}: nothing makes the certificate '{tls['secretName']}'."
        if not ingress["spec"].get("tls"):
            yield f"{title(ingress)}: it has no TLS."
    for pod in rendered.pods:
        for container in pod.containers:
            ports_ = {
                value for port in container.get("ports", []) for value in (port.get("name"), port["containerPort"])
            }
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = (
                    container.get(probe, {}).get("httpGet", container.get(probe, {}).get("tcpSocket", {})).get("port")
                )
                if asked is not None and asked not in ports_:
                    yield f"{pod.owner}, {container['name']}: {probe} asks port '{asked}', which it does not have."


def behind(service: Object, rendered: Rendered) -> list[Pod]:
    """The pods that a Service selects."""
    selector = {"matchLabels": service["spec"].get("selector", {})}
    return [pod for pod in rendered.pods if pod.namespace == key(service)[0] and matches(selector, pod.labels)]


def target_port(port: Object, pod: Pod) -> int | None:
    """The number of the container's port that a Service's port leads to; None where the pod has none such."""
    wanted = port.get("targetPort", port["port"])
    for container in pod.containers:
        for each in container.get("ports", []):
            if wanted in (each.get("name"), each["containerPort"]):
                return int(each["containerPort"])
    return None


def ports_of(address: Address, rendered: Rendered) -> set[int] | None:
    """The ports of the Service at the address; None where there is none."""
    for service in of_kind(rendered.objects, "Service"):
        if key(service) == (address.namespace, address.service):
            return {port["port"] for port in service["spec"]["ports"]}
    return OF_PREREQUISITES.get((address.namespace, address.service))


def _known(kind: str, rendered: Rendered) -> Mapping[Key, Mapping[str, str]]:
    return rendered.secrets if kind == "Secret" else rendered.config_maps


def _given(pod: Pod) -> Iterator[tuple[str, str, str, str | None, bool]]:
    """Where, kind, name, key, optional: of each ConfigMap and Secret that the pod is given."""
    for container in pod.containers:
        at = container["name"]
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if ref := source.get(field):
                    yield f"{at}: {variable['name']}", kind, ref["name"], ref["key"], ref.get("optional", False)
        for each in container.get("envFrom", []):
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if ref := each.get(field):
                    yield f"{at}: envFrom", kind, ref["name"], None, ref.get("optional", False)
    for volume in pod.spec.get("volumes", []):
        at = f"volume {volume['name']}"
        if ref := volume.get("secret"):
            for item in ref.get("items", [{"key": None}]):
                yield at, "Secret", ref["secretName"], item["key"], ref.get("optional", False)
        if ref := volume.get("configMap"):
            for item in ref.get("items", [{"key": None}]):
                yield at, "ConfigMap", ref["name"], item["key"], ref.get("optional", False)
