#!/bin/sh
# Uploads $WORK/mlflow.dump under its time, the checksum beside it and last: a backup without one is not whole.
set -eu
WORK=${WORK:-/work}
name=mlflow-$(date -u +%Y%m%dT%H%M%SZ).dump
(cd "$WORK" && mv mlflow.dump "$name" && sha256sum "$name" >"$name.sha256")
mc cp "$WORK/$name" "store/backups/$name"
mc cp "$WORK/$name.sha256" "store/backups/$name.sha256"
echo "backup $name"
