"""Running the stages: as pipeline steps, on this machine or on a cluster. The only package that imports kfp."""
