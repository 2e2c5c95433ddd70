"""The part of an infra file that names the place where models are served on a cluster."""

from __future__ import annotations

from pydantic import Field

from deepperception.settings import Settings

_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"


class Serving(Settings):
    """One KServe InferenceService in Standard mode, and how it is looked after."""

    namespace: str = Field(default="deepperception-serving", pattern=_NAME, description="Of the InferenceService.")
    # A revision's objects are called NAME-m<12 digits>-predictor, and a name of Kubernetes has 63 characters.
    name: str = Field(default="deepperception", pattern=_NAME, max_length=38, description="Of the InferenceService.")
    runtime: str = Field(default="deepperception", description="The ServingRuntime that its models run in.")
    service_account: str = Field(default="deepperception-server", description="That its pods run under.")
    pool: str | None = Field(
        default=None,
        description="A name out of `pools`: what a pod asks for, and where it may run; null: the runtime's.",
    )
    replicas: int = Field(default=1, ge=1, description="Pods of the served version.")
    standby: bool = Field(
        default=False, description="Keep a pod of the previous version: the way back takes seconds, and a GPU for good."
    )
    context: str | None = Field(
        default=None, description="Of the kubeconfig; null: the pod's own account, or its current."
    )
    ready_timeout_s: float = Field(
        default=1800.0, gt=0, description="For a version to fetch its weights and load them."
    )
    schedule_timeout_s: float = Field(
        default=300.0, gt=0, description="For a node to be found for its pod; longer than your autoscaler takes."
    )
    lease_s: float = Field(default=30.0, gt=0, description="A release that shows no life for so long is taken over.")
    poll_s: float = Field(default=2.0, gt=0, description="Between two looks at the cluster.")
