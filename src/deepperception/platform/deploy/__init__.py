"""Brings manifests/ to a cluster and takes them away again: `make deploy`, `make undeploy`."""
