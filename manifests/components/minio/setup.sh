#!/bin/sh
# Makes the buckets, and for each a user of the same name with rights on that bucket alone. Run again: no change, or the
# new key where the Secret holds one. Expects MC_HOST_store, and <bucket>-access-key and <bucket>-secret-key in $KEYS.
set -eu
SETUP=${SETUP:-/setup}
KEYS=${KEYS:-/keys}

for bucket in pipelines mlflow models backups; do
    access_key=$(cat "$KEYS/$bucket-access-key")
    mc mb --ignore-existing "store/$bucket"
    mc admin policy create store "$bucket" "$SETUP/$bucket.json"
    # The secret goes through standard input: an argument would show in the list of processes.
    printf '%s\n%s\n' "$access_key" "$(cat "$KEYS/$bucket-secret-key")" | mc admin user add store
    # Attaching what is attached is an error of its own; the check below is what counts.
    mc admin policy attach store "$bucket" --user "$access_key" || true
    mc admin user info store "$access_key" | grep -q "$bucket"
    echo "bucket $bucket: ready for its user $access_key"
done

# The backup's own key cannot delete: what is older than 30 days goes by the store's rule.
if ! mc ilm rule ls store/backups | grep -q 30; then
    mc ilm rule add --expire-days 30 store/backups
fi
