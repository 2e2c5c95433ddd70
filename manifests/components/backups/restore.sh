#!/bin/sh
# Puts $WORK/mlflow.dump in the place of all that the database holds, in one transaction: done whole or not at all.
# Expects libpq's PG* variables, and that MLflow is stopped.
set -eu
WORK=${WORK:-/work}
others=$(psql --no-align --tuples-only --command \
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
if [ "$others" -ne 0 ]; then
    echo "the database is in use by $others connections; scale MLflow to zero first" >&2
    exit 1
fi
# First all of it as SQL: in a pipe, a dump that breaks off would be committed as far as it was read.
pg_restore --no-owner --no-privileges --file="$WORK/mlflow.sql" "$WORK/mlflow.dump"
# Dropping the schema, not only what the dump names: tables of a newer version must not stay behind.
{
    echo 'drop schema public cascade; create schema public;'
    cat "$WORK/mlflow.sql"
} | psql --quiet --single-transaction --set=ON_ERROR_STOP=1 --output=/dev/null
tables=$(psql --no-align --tuples-only --command "select count(*) from pg_tables where schemaname = 'public'")
echo "restored $tables tables"
