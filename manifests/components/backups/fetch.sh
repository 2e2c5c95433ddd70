#!/bin/sh
# Fetches the backup $BACKUP, or the newest whole one, to $WORK/mlflow.dump, and checks its sum.
set -eu
WORK=${WORK:-/work}
if [ -z "${BACKUP:-}" ]; then
    # Names hold their time, so the last in order is the newest; `mc find` prints one path a line.
    newest=$(mc find store/backups --name '*.dump.sha256' | sort | tail -n 1)
    [ -n "$newest" ] || { echo "there is no backup in the store" >&2; exit 1; }
    BACKUP=${newest##*/}
    BACKUP=${BACKUP%.sha256}
fi
mc cp "store/backups/$BACKUP" "$WORK/$BACKUP"
mc cp "store/backups/$BACKUP.sha256" "$WORK/$BACKUP.sha256"
(cd "$WORK" && sha256sum -c "$BACKUP.sha256" && mv "$BACKUP" mlflow.dump)
echo "fetched $BACKUP"
