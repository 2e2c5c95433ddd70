"""Our images by what `make images` built, in the place of what the manifests name."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

from deepperception.errors import InputError
from deepperception.platform.deploy.objects import Object, pods

_OURS = re.compile(r"(?:^|/)deepperception/(?P<name>[a-z]+)(?::[^@/]+)?(?:@.+)?$")
_TAG = re.compile(r":[^:/]+$")


def built(listing: Path) -> dict[str, str]:
    """Name -> image, from the build's build/images.json: by digest where it was pushed, by its content's tag else."""
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        return {name: _reference(each["image"], each.get("digest")) for name, each in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{listing}: this is no list of built images ({error}); make it with `make images`.") from None


def _reference(image: str, digest: str | None) -> str:
    return f"{_TAG.sub('', image)}@{digest.rpartition('@')[2]}" if digest else image


def with_images(objects: list[Object], references: dict[str, str]) -> list[Object]:
    """The objects with our images replaced; InputError where one of ours was not built."""
    changed = copy.deepcopy(objects)
    for pod in pods(changed):
        for container in pod.containers:
            if ours := _OURS.search(container.get("image", "")):
                if ours["name"] not in references:
                    raise InputError(f"{pod.owner}: the image '{ours['name']}' was not built; run `make images`.")
                container["image"] = references[ours["name"]]
    return changed
