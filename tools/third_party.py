"""Writes the digests of third-party images where their registries can be reached: `make lock-images`.

Reads the `images` of a YAML file (manifests/images/kustomization.yaml, or the file given), each with newName and newTag
as in a kustomization, and writes `digest` below the tag. A digest is the sha256 of the manifest that the registry sent,
and is never taken from anywhere else: where a registry cannot be reached, or sends something else than it announces,
the entry stays as it is, that is said, and the exit code is 3.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import yaml
from environment import ROOT

FILE = ROOT / "manifests" / "images" / "kustomization.yaml"
_INDEX_FIRST = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_TIMEOUT_S = 20.0
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class NotResolved(Exception):
    """One sentence that says why an image has no digest."""


@dataclass(frozen=True)
class Image:
    """An entry of the file. `name` starts with the registry's host."""

    name: str
    tag: str
    digest: str | None

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def read(text: str) -> list[Image]:
    """The entries that are somebody else's: ours have no registry in front of their names."""
    entries = yaml.safe_load(text).get("images", [])
    return [
        Image(str(entry["newName"]), str(entry["newTag"]), entry.get("digest"))
        for entry in entries
        if "newName" in entry
    ]


def resolve(image: Image) -> str:
    """The digest by which the image's registry knows its tag now. NotResolved."""
    host, _, repository = image.name.partition("/")
    # Docker Hub's API lives under another name; http is for a registry on this machine.
    address = "registry-1.docker.io" if host == "docker.io" else host
    scheme = "http" if urlsplit(f"//{host}").hostname in ("127.0.0.1", "localhost") else "https"
    url = f"{scheme}://{address}/v2/{repository}/manifests/{image.tag}"
    try:
        answer = requests.get(url, headers={"Accept": _INDEX_FIRST}, timeout=_TIMEOUT_S)
        if answer.status_code == requests.codes.unauthorized:
            token = _token(answer.headers.get("WWW-Authenticate", ""))
            headers = {"Accept": _INDEX_FIRST, "Authorization": f"Bearer {token}"}
            answer = requests.get(url, headers=headers, timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        raise NotResolved(f"{image}: {address} cannot be reached ({type(error).__name__})") from None
    if answer.status_code != requests.codes.ok:
        raise NotResolved(f"{image}: {address} answers {answer.status_code} {answer.reason}")
    announced = answer.headers.get("Docker-Content-Digest")
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    if announced != digest:
        raise NotResolved(f"{image}: {address} announces {announced or 'no digest'} and sends {digest}")
    return digest


def _token(challenge: str) -> str:
    """An anonymous token, as the registry's challenge says where to get one."""
    asked = dict(_CHALLENGE.findall(challenge))
    if not challenge.startswith("Bearer ") or "realm" not in asked:
        raise requests.RequestException("no way in without a password")
    realm = asked.pop("realm")
    given = requests.get(realm, params=asked, timeout=_TIMEOUT_S)
    given.raise_for_status()
    content = given.json()
    return str(content.get("token") or content["access_token"])


def written(text: str, image: Image, digest: str) -> str:
    """The file's text with the image's digest below its tag; comments and all else stay."""
    lines = text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.split() == ["newName:", image.name])
    tag = next(i for i in range(start, len(lines)) if lines[i].lstrip().startswith("newTag:"))
    indent = lines[tag][: len(lines[tag]) - len(lines[tag].lstrip())]
    if tag + 1 < len(lines) and lines[tag + 1].startswith(f"{indent}digest:"):
        del lines[tag + 1]
    if not lines[tag].endswith("\n"):
        lines[tag] += "\n"
    lines.insert(tag + 1, f"{indent}digest: {digest}\n")
    return "".join(lines)


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    file = Path(given[0]) if given else FILE
    text = file.read_text(encoding="utf-8")
    missing = 0
    for image in read(text):
        try:
            digest = resolve(image)
        except NotResolved as error:
            missing += 1
            print(f"{error}; {'its old digest stays' if image.digest else 'left without a digest'}.", file=sys.stderr)
            continue
        print(f"{image}@{digest}")
        text = written(text, image, digest)
    file.write_text(text, encoding="utf-8")
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
