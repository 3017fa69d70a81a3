"""Measurements of the pipeline against what others would use; `make bench` writes them to docs/BENCHMARKS.md."""
