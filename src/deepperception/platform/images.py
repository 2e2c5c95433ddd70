"""The container images that components run in. Their names are part of KFP's cache key: each stands for one content."""

from __future__ import annotations

import os
from importlib.metadata import version

# A registry's digest belongs here on a cluster: DEEPPERCEPTION_TRAINER_IMAGE=registry/name@sha256:...
TRAINER = os.environ.get("DEEPPERCEPTION_TRAINER_IMAGE") or f"deepperception/trainer:{version('deepperception')}"
