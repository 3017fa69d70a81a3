"""Measurements of the pipeline against what others would use; `make bench` writes them to docs/BENCHMARKS.md."""

# TensorFlow is told the same whatever is measured, what it is compared with included.
import models  # noqa: F401
