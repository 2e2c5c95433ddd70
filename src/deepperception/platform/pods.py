"""What every pod of a run finds around it, whoever makes the pod: Kubeflow Pipelines for a step, Trainer for a node."""

from __future__ import annotations

USER = 10001
"""The images' numeric user and group; who that is does not matter, only that it is not root."""
HUB = "/hub"
"""Where the claim with models of a hub is mounted."""
STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""What the store's secret holds."""
TRACKING_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""What the secret of MLflow holds."""
QUIET = {"HF_HOME": HUB, "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Environment of all pods."""
# A file that a library would fetch at run time is a file that was not imported, checked and recorded.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""Environment of all pods but the model import's."""
WORK_MOUNT = "DEEPPERCEPTION_WORK_MOUNT"
"""Environment variable of a pod that makes others: where the claim with the runs' work folders is mounted."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Label by which Kueue knows what waits for which queue."""
