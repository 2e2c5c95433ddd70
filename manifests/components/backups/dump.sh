#!/bin/sh
# Writes the whole database to $WORK/mlflow.dump, and proves that the dump can be read. Expects libpq's PG* variables.
set -eu
WORK=${WORK:-/work}
pg_dump --format=custom --no-owner --no-privileges --file="$WORK/mlflow.dump"
tables=$(pg_restore --list "$WORK/mlflow.dump" | grep -c ' TABLE DATA ') || {
    echo "the dump holds no tables: nothing to back up, or the wrong database" >&2
    exit 1
}
echo "dumped $tables tables, $(wc -c <"$WORK/mlflow.dump") bytes"
