"""What stages exchange: datasets, checkpoints, evaluations; their manifests; and the store that keeps them."""

from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface, write_interface
from deepperception.artifacts.datasets import count_rows, read_rows, write_rows
from deepperception.artifacts.evaluations import Case, Paired, paired, read_cases, read_metrics, write_cases
from deepperception.artifacts.folder_store import FolderStore
from deepperception.artifacts.manifest import Manifest, code_version, payload_digest, read_manifest, seal, verify
from deepperception.artifacts.ref import Ref, Store, Swept
from deepperception.artifacts.s3_settings import S3Settings
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.artifacts.store import open_store, resolve

__all__ = [
    "Case",
    "Context",
    "FolderStore",
    "Interface",
    "Manifest",
    "Outcome",
    "Paired",
    "Ref",
    "S3Settings",
    "Store",
    "Swept",
    "check_checkpoint",
    "code_version",
    "count_rows",
    "once",
    "open_store",
    "paired",
    "payload_digest",
    "read_cases",
    "read_interface",
    "read_manifest",
    "read_metrics",
    "read_rows",
    "resolve",
    "seal",
    "verify",
    "write_cases",
    "write_interface",
    "write_rows",
]
