"""The kinds of input that a data folder may hold; `registry.py` says what one is.

Another is a module here that registers a `Kind`, and an import below: the cache key of ExampleGen counts what is
imported.
"""

from components.example_gen.kinds import idx_folder
from components.example_gen.kinds.registry import KINDS, PARTS, Files, find_kind

__all__ = ["KINDS", "PARTS", "Files", "find_kind", "idx_folder"]
