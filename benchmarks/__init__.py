"""Measured comparisons, each of two ways to do the same work in one process: `make bench`."""
