"""The pipeline's components, one a stage. Each is an address: typed inputs and outputs, and one call into the package.

A KFP artifact here holds no bytes but a reference, in its metadata and in `ref.json`: the URI and digest of a folder in
the store.
"""
