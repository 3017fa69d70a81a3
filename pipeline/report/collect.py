"""Gathers what the report tells of a run: its record, and what its artifacts hold.

Whatever is missing is left out: a run that failed early, a partial run, and one of an older version have reports too.

Synopsis:

    facts = collect(OutputRoot("output"), "latest")
    facts.summary["metrics"]["test_accuracy"]
"""

import contextlib
import dataclasses
import itertools
import json
import math
from collections.abc import Iterable

import numpy as np

from models.examples import Examples, ExamplesError
from models.features import LABEL, SPLITS, TEST
from models.memory import MIB, rows_within
from models.pictures import read_labels, read_pictures
from pipeline.client import RunView
from pipeline.metadata.artifacts import RunArtifacts
from pipeline.metadata.served import Standings, is_served, served_run
from pipeline.metadata.store import Run, Store
from pipeline.output_root import OutputRoot
from pipeline.report.images import thumbnail
from pipeline.report.predictions import (
    MATRIX_CLASSES,
    Predictions,
    cell_examples,
    confusion_matrix,
    most_confident_errors,
    shown_classes,
)
from pipeline.run.outcome import NODE_CACHED

# How many pictures the report holds: of a cell of the confusion matrix, of the surest errors, of a class in a split.
CELL_IMAGES, ERROR_IMAGES, SAMPLE_IMAGES = 20, 24, 5
# Records of a split that are looked through for samples of each class.
SAMPLED_RECORDS, _SAMPLED_BYTES = 10_000, 256 * MIB
# Of the images behind the confusion matrix, and of the samples as much again; keeps the report of many classes or large
# images below 5 MB.
PIXEL_BYTES = 1_500_000
# What the page says of a sample beside its pixels.
_MARKUP_BYTES = 250


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the DAG in this run: how it ended, and the artifacts it put out, by key.

    Attributes:
      reads: the nodes whose outputs it reads.
      waits: those whose outputs it does not read, and which it waits for all the same: gates.
      made_in: the run that made what it took from the cache; "" where it ran itself, or nobody knows.
    """

    id: str
    state: str
    seconds: float | None = None
    reads: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    made_in: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """TFDV's statistics of a split: number of examples, and of each numeric feature its figures and histogram.

    `classes` is the number of examples by label.
    """

    split: str
    examples: int
    features: dict[str, dict[str, float]]
    histograms: dict[str, list[tuple[float, float, float]]]
    classes: dict[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run.

    Attributes:
      run: its record in ML Metadata.
      summary: what it told of itself, as summary.json holds it; {} for a run of another runner's.
      nodes: in the order of the DAG.
      class_names: by label.
      predictions: of the test split, None without a BulkInferrer.
      cell_images: how many pictures there are of a cell of the confusion matrix, at most.
      pictures: image, uint8 [height, width, channels], by (split, position).
      samples: positions by split and label, of the labels that samples are shown of.
      statistics: by split, in order.
      anomalies: what the data gate found and let pass: `severity`, `split`, `feature`, `text`.
      is_served: whether the model that it pushed is served now.
      standing: of its model: "champion", "challenger", "taken back", "former" or "".
      others: what the previous run on the same data set, and the served one, told, by what they are.
    """

    run: Run
    summary: dict
    nodes: list[Node]
    class_names: list[str]
    predictions: Predictions | None
    cell_images: int
    pictures: dict[tuple[str, int], np.ndarray]
    samples: dict[str, dict[int, list[int]]]
    statistics: list[SplitStatistics]
    anomalies: list[dict]
    others: dict[str, dict]
    is_served: bool = False
    standing: str = ""

    @property
    def state(self) -> str:
        """How the run ended, in a word or two."""
        state = self.run.properties.get("state", "unknown")
        return "blessed" if state == "done" and self.summary.get("blessed") else state


def collect(root: OutputRoot, text: str) -> Facts:
    """Gathers the facts of the run that `text` names: "latest", its id, or the beginning of it.

    Raises:
      InputError: there is no such run.
    """
    store = Store(root.metadata)
    run = store.find_run(text)
    view, artifacts = RunView(store, run), RunArtifacts(store, run)
    runs = store.runs()
    served = None if is_served(run, root) else served_run(runs, root, run)
    examples, predictions = view.examples, view.predictions
    class_names = list(examples.class_names) if examples else []
    samples, pictures, limit = {}, {}, CELL_IMAGES
    # A shard that is damaged or gone costs its pictures, not the report.
    with contextlib.suppress(ExamplesError):
        if examples:
            samples, pictures = _samples(examples, predictions)
        if predictions is not None and examples:
            limit = cell_limit(predictions, _picture_bytes(examples))
            pictures |= _pictures_of(predictions, examples, limit)
    return Facts(
        run=run,
        summary=run.record,
        nodes=_nodes(store, run),
        class_names=class_names or (predictions.class_names if predictions else []),
        predictions=predictions,
        cell_images=limit,
        pictures=pictures,
        samples=samples,
        statistics=_statistics(view.statistics or {}),
        anomalies=json.loads(artifacts.properties("DataBlessing").get("anomalies", "[]")),
        others=_others(store, runs, run, served),
        is_served=is_served(run, root),
        standing=Standings(root).of(runs).get(run.id, ""),
    )


def _nodes(store: Store, run: Run) -> list[Node]:
    return [
        Node(
            id=entry["id"],
            state=entry["state"],
            seconds=entry["seconds"],
            reads=tuple(entry.get("reads", entry["after"])),
            waits=tuple(name for name in entry["after"] if name not in entry.get("reads", entry["after"])),
            made=tuple(f"{key}: {store.artifacts[number].type} a{number}" for key, number in entry["made"].items()),
            made_in=_made_in(store, entry["made"].values()) if entry["state"] == NODE_CACHED else "",
        )
        for entry in run.record.get("nodes", [])
    ]


def _made_in(store: Store, artifacts: Iterable[int]) -> str:
    makers = [store.executions[store.producers[number]].run for number in artifacts if number in store.producers]
    return makers[0] if makers else ""


def _picture_bytes(examples: Examples) -> int:
    """Returns how many bytes an image takes in the report, before it is compressed."""
    return np.asarray(thumbnail(np.zeros((*examples.image_shape, 1)[:3], np.uint8))).nbytes


def _samples(examples: Examples, predictions: Predictions | None) -> tuple[dict, dict]:
    """Takes the first images of each class in each split, of so many classes and so many as PIXEL_BYTES allow."""
    classes = list(range(len(examples.class_names)))
    fit = PIXEL_BYTES // ((_picture_bytes(examples) + _MARKUP_BYTES) * max(1, len(examples.counts)))
    if len(classes) > fit:
        classes = shown_classes(predictions) if predictions is not None else classes[:MATRIX_CLASSES]
    count = max(1, min(SAMPLE_IMAGES, fit // len(classes)))
    samples: dict[str, dict[int, list[int]]] = {}
    pictures = {}
    for split in examples.counts:
        found: dict[int, list[int]] = {label: [] for label in classes}
        missing = count * len(classes)
        most = rows_within(_SAMPLED_BYTES, math.prod(examples.image_shape), most=SAMPLED_RECORDS)
        for position, label in enumerate(itertools.islice(read_labels(examples, split), most)):
            if len(found.get(label, range(count))) < count:
                found[label].append(position)
                missing -= 1
                if not missing:
                    break
        wanted = {position for places in found.values() for position in places}
        pictures |= {(split, position): image for position, image, _ in read_pictures(examples, split, wanted)}
        if wanted:
            samples[split] = found
    return samples, pictures


def cell_limit(predictions: Predictions, size: int) -> int:
    """Returns how many images of `size` bytes may be shown of each cell, 1 to CELL_IMAGES."""
    return max(1, min(CELL_IMAGES, PIXEL_BYTES // max(1, len(cell_examples(predictions, 1)) * size)))


def _pictures_of(predictions: Predictions, examples: Examples, limit: int) -> dict[tuple[str, int], np.ndarray]:
    """Reads the images that the confusion matrix and the list of errors show."""
    counts, cells = confusion_matrix(predictions), cell_examples(predictions, limit)
    # Where not even one of each may be shown, the cells with few images go without.
    largest = sorted(cells, key=lambda cell: -counts[cell])[: PIXEL_BYTES // _picture_bytes(examples)]
    chosen = [most_confident_errors(predictions, ERROR_IMAGES), *(cells[cell] for cell in largest)]
    wanted = set(predictions.example[np.concatenate(chosen)].tolist())
    return {(TEST, number): image for number, image, _ in read_pictures(examples, TEST, wanted)}


def _statistics(statistics: dict) -> list[SplitStatistics]:
    found = []
    for split in (name for name in SPLITS if name in statistics):
        dataset = statistics[split]
        numeric = {
            ".".join(feature.path.step) or feature.name: feature.num_stats
            for feature in dataset.features
            if feature.WhichOneof("stats") == "num_stats"
        }
        found.append(
            SplitStatistics(
                split=split,
                examples=int(dataset.num_examples),
                features={
                    name: {"mean": stats.mean, "std": stats.std_dev, "min": stats.min, "max": stats.max}
                    for name, stats in numeric.items()
                },
                histograms={name: _buckets(stats) for name, stats in numeric.items()},
                classes=_classes(dataset),
            )
        )
    return found


def _classes(dataset) -> dict[int, int]:
    for feature in dataset.features:
        if (feature.name or ".".join(feature.path.step)) == LABEL and feature.WhichOneof("stats") == "string_stats":
            buckets = feature.string_stats.rank_histogram.buckets
            return {int(bucket.label): round(bucket.sample_count) for bucket in buckets if bucket.label.isdecimal()}
    return {}


def _buckets(stats) -> list[tuple[float, float, float]]:
    """Returns low, high and count of the bins of the histogram by quantiles, which shows where the values lie."""
    quantiles = [h for h in stats.histograms if h.type == h.QUANTILES] or list(stats.histograms)
    return [(b.low_value, b.high_value, b.sample_count) for b in quantiles[0].buckets] if quantiles else []


def _others(store: Store, runs: list[Run], run: Run, served: Run | None) -> dict[str, dict]:
    """Returns what the evaluated run before this one on the same data set told, and the one whose model is served."""
    name = run.properties.get("name")
    earlier = [
        other
        for other in runs
        if other.number < run.number and "test_accuracy" in other.properties and other.properties.get("name") == name
    ]
    found: dict[str, dict] = {}
    if earlier:
        found["previous"] = store.whole(earlier[-1]).record
    if served and served.id != run.id:
        found["served"] = store.whole(served).record
    return found
