"""Scores on a benchmark, their comparison, and the report."""
