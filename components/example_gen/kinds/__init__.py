"""The kinds of input that a data folder may hold; `registry.py` says what one is.

Another is a module here that registers a `Kind`, and an import below: the cache key of ExampleGen counts what is
imported. What comes first is looked for first.
"""

# isort: off
from components.example_gen.kinds import idx_folder
from components.example_gen.kinds import parquet_files
from components.example_gen.kinds import tfrecords
from components.example_gen.kinds import arrays
from components.example_gen.kinds import csv_files
from components.example_gen.kinds import class_folders

# isort: on
from components.example_gen.kinds.registry import KINDS, PARTS, Contents, PicturePart, PixelPart, find_kind

__all__ = [
    "KINDS",
    "PARTS",
    "Contents",
    "PicturePart",
    "PixelPart",
    "arrays",
    "class_folders",
    "csv_files",
    "find_kind",
    "idx_folder",
    "parquet_files",
    "tfrecords",
]
