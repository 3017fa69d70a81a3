"""Joins the examples of several spans into one artifact, whose shards are further links to theirs.

Nothing is copied, and what is trained on stays where it is when the examples of a span are deleted. Whoever reads
examples needs not know that there are spans, but for whom it matters which one a record is of (`Examples.spans`).

Synopsis:

    joined = join_examples([examples, examples], folder / "window")      # as if they were two spans
    joined.counts["train"], joined.spans("test")                         # the span of each shard
"""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.examples import Examples, shard_name, split_folder
from models.features import SPLITS
from models.origins import Origins, read_origins, write_origins


def join_examples(spans: Sequence[Examples], folder: Path) -> Examples:
    """Makes the examples of several spans one.

    Args:
      spans: in their order, stored alike; the classes of each are the first of those of the one that has most.
      folder: of the new artifact.

    Raises:
      ExamplesError: a shard is missing.
    """
    parts, origins = [], {}
    for split in SPLITS:
        target = split_folder(folder, split)
        target.mkdir(parents=True, exist_ok=True)
        shards = [path for span in spans for path in span.shards(split)]
        for number, path in enumerate(shards):
            _link(path, target / shard_name(number, len(shards), spans[0].compression))
        if (told := _origins(spans, split)) is not None:
            origins[split] = told
    if len(origins) == len(SPLITS):
        write_origins(folder, origins)
    parts = [(span.span_name, {split: len(span.shards(split)) for split in SPLITS}) for span in spans]
    most = max(spans, key=lambda span: len(span.class_names))
    return dataclasses.replace(
        most,
        folder=folder,
        counts={split: sum(span.counts[split] for span in spans) for split in SPLITS},
        digest=hashlib.sha256("".join(f"{span.span_name} {span.digest}\n" for span in spans).encode()).hexdigest(),
        span_name="",
        parts=tuple(parts),
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        # A file system without hard links.
        shutil.copyfile(source, target)


def _origins(spans: Sequence[Examples], split: str) -> Origins | None:
    """Returns where the records come from, the name of the span before that of each file; None where one has none."""
    found = [read_origins(span.folder, split) for span in spans]
    if any(origins is None for origins in found):
        return None
    starts = np.cumsum([0, *(len(origins.files) for origins in found)])[:-1]
    named = zip(spans, found, strict=True)
    return Origins(
        files=tuple(f"{span.span_name}/{name}" for span, origins in named for name in origins.files),
        file=np.concatenate(
            [origins.file + start for origins, start in zip(found, starts, strict=True)], dtype=np.int32
        ),
        position=np.concatenate([origins.position for origins in found]),
    )
