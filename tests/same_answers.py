"""What has to be the same of two runs on two engines, and a run that is short enough to be made on each."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tensorflow_data_validation as tfdv

from models.preprocessing import read_statistics

# Small: an engine starts a process that imports TensorFlow for each job.
TINY = [
    *("--preset", "smoke", "--set", "split_limits=1500,500,500", "--set", "training.epochs=1"),
    *("--set", "floors.accuracy=0", "--set", "floors.accuracy@class=0"),
]


def summary_of(output: Path) -> dict:
    """Returns the summary of the latest run."""
    return json.loads(max(output.glob("runs/*/summary.json")).read_text())


def assert_same_answers(one: Path, other: Path, shards: int = 8) -> None:
    """Compares the outputs of two runs: examples, sums, model's predictions to the byte, counts, metrics to 1e-6."""
    first, second = summary_of(one), summary_of(other)
    assert _shards(one) == _shards(other)
    assert len(_shards(one)) == shards
    for split in ("train", "val", "test"):
        assert counts(one, split) == counts(other, split)
    assert all(np.array_equal(*pair) for pair in zip(_sums(one), _sums(other), strict=True))
    predictions, again = _predictions(one), _predictions(other)
    assert len(predictions) == 500
    assert predictions.equals(again)
    _assert_close(first["metrics"], second["metrics"])


def _only(output: Path, pattern: str) -> Path:
    return max(output.glob(f"artifacts/{pattern}"))


def _shards(output: Path) -> dict[str, bytes]:
    examples = _only(output, "ExampleGen/examples/*")
    return {str(path.relative_to(examples)): path.read_bytes() for path in examples.glob("Split-*/data_tfrecord-*")}


def counts(output: Path, split: str) -> dict:
    """Returns what the statistics of a split count."""
    (dataset,) = tfdv.load_stats_binary(str(_only(output, f"StatisticsGen/statistics/*/Split-{split}/*.pb"))).datasets
    found: dict = {"examples": dataset.num_examples}
    for feature in dataset.features:
        name, kind = feature.path.step[0], feature.WhichOneof("stats")
        common = getattr(feature, kind).common_stats
        found[name] = [common.num_non_missing, common.num_missing, common.tot_num_values]
        if name == "label":
            found["labels"] = {
                bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets
            }
    return found


def _sums(output: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of each pixel: float64 of whole numbers, equal where these are."""
    return read_statistics(str(_only(output, "Transform/transform_graph/*")), (28, 28))


def _predictions(output: Path):
    """Returns the rows, without the folder that the shards lie in."""
    table = pq.read_table(_only(output, "BulkInferrer/predictions/*") / "predictions.parquet")
    return table.drop_columns(["source"])


def _assert_close(one: object, other: object) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_close(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            _assert_close(*pair)
    elif isinstance(one, float):
        assert math.isclose(one, other, abs_tol=1e-6)
    else:
        assert one == other
