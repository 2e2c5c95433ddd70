"""Checkpoints from a model hub: a fixed revision, safetensors only, nothing that would run as code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deepperception.errors import InfrastructureError, InputError

SCHEME = "hf://"
_FORM = re.compile(r"hf://([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
# Weights, configuration, tokenizer. Pickles and Python files stay where they are.
_WANTED = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "LICENSE*", "README.md")


@dataclass(frozen=True)
class HubRef:
    """One commit of a hub's repository; written hf://ORG/NAME@COMMIT."""

    repository: str
    commit: str

    @classmethod
    def parse(cls, text: str) -> HubRef:
        """InputError where it is not one. A branch is none: what it names today, it may not name tomorrow."""
        match = _FORM.fullmatch(text)
        if not match:
            raise InputError(
                f"{text}: expected hf://ORG/NAME@COMMIT with the commit's 40 hex digits, as the hub's page lists them."
            )
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}@{self.commit}"


def fetch(ref: HubRef, *, endpoint: str | None = None) -> Path:
    """The folder of that commit in the hub's cache (HF_HOME), downloaded where it is not there yet.

    `endpoint` is the hub's URL; the library's own default, and HF_ENDPOINT, hold without it. InputError where the hub
    has no such commit, keeps it from the user, or brings no safetensors; InfrastructureError where it does not answer.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        held = HfApi(endpoint=endpoint).model_info(ref.repository, revision=ref.commit, timeout=30).siblings or []
        if not any(file.rfilename.endswith(".safetensors") for file in held):
            raise InputError(f"{ref}: it brings no *.safetensors, and pickled weights can run code; choose another.")
        return Path(
            snapshot_download(ref.repository, revision=ref.commit, allow_patterns=list(_WANTED), endpoint=endpoint)
        )
    except GatedRepoError:
        raise InputError(
            f"{ref}: the hub asks for a token; accept its terms there and set HF_TOKEN (on a cluster: in the "
            "secret that kubeflow.hub_secret names)."
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise InputError(f"{ref}: the hub has no such commit, or hides it from you; check name and commit.") from None
    except OfflineModeIsEnabled:
        raise InputError(
            f"{ref}: this machine is told to stay offline; download it elsewhere, give its folder."
        ) from None
    except (HfHubHTTPError, HTTPError, LocalEntryNotFoundError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InfrastructureError(f"{ref}: the hub does not answer as it should ({why}); run again later.") from error
