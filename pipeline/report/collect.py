"""Gathers what the report tells of a run, from ML Metadata, the artifacts and summary.json.

Whatever is missing is left out: a run that failed early, a partial run, and one of an older version have reports too.

Synopsis:

    facts = collect(Store(output / "metadata.db"), output, "latest")
    facts.summary["metrics"]["test_accuracy"]
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.features import SPLITS, TEST
from pipeline.metadata.store import Execution, Run, Store
from pipeline.nodes import NODES
from pipeline.report.answers import Answers, cell_examples, most_confident_errors, read_answers
from pipeline.report.images import thumbnail
from pipeline.report.records import read_examples, shards_of

PREDICTIONS_FILE = "predictions.parquet"
# How many pictures the report holds: of a cell of the confusion matrix, of the surest errors, of a class in a split.
CELL_IMAGES, ERROR_IMAGES, SAMPLE_IMAGES = 20, 24, 5
# Records of a split that are looked through for samples of each class.
_SAMPLED_RECORDS = 1500
# Of all images behind the confusion matrix; keeps the report of many classes or large images below 5 MB.
_PIXEL_BYTES = 1_500_000
_STATES = {"ran": "ran", "cached": "cached", "failed": "failed"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the DAG in this run: how it ended, what it read directly, and the artifacts it put out, by key."""

    id: str
    state: str
    seconds: float | None = None
    reads: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """TFDV's statistics of a split: number of examples, and of each numeric feature its figures and histogram."""

    split: str
    examples: int
    features: dict[str, dict[str, float]]
    histograms: dict[str, list[tuple[float, float, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run.

    Attributes:
      run: its record in ML Metadata.
      summary: content of summary.json, {} without.
      nodes: in the order of the DAG.
      class_names: by label.
      answers: to the test split, None without a Predictor.
      cell_images: how many pictures there are of a cell of the confusion matrix, at most.
      pictures: image, uint8 [height, width, channels], by (split, position).
      samples: positions by split and label.
      statistics: by split, in order.
      anomalies: what the data gate found and let pass: `severity`, `split`, `feature`, `text`.
      others: summaries of the previous run and of the served one, by what they are.
    """

    run: Run
    summary: dict
    nodes: list[Node]
    class_names: list[str]
    answers: Answers | None
    cell_images: int
    pictures: dict[tuple[str, int], np.ndarray]
    samples: dict[str, dict[int, list[int]]]
    statistics: list[SplitStatistics]
    anomalies: list[dict]
    others: dict[str, dict]

    @property
    def state(self) -> str:
        """How the run ended, in a word or two."""
        state = self.run.properties.get("state", "done")
        if self.summary and state in ("done", "running"):
            # While the run writes its own report, its record is still open.
            failed = {node.id for node in self.nodes if node.state == "failed"}
            ended = "data refused" if "DataGate" in failed else "failed" if failed else "done"
            return {True: "blessed", False: "not blessed"}.get(self.summary.get("blessed"), ended)
        return state


def collect(store: Store, output: Path, text: str) -> Facts:
    """Gathers the facts of the run that `text` names: "latest", its id, or the beginning of it.

    Raises:
      InputError: there is no such run.
    """
    run = store.find_run(text)
    summary = read_summary(output, run.id)
    artifacts = _Artifacts(store, run)
    examples = artifacts.folder("Examples")
    class_names = json.loads(artifacts.properties("Examples").get("class_names", "[]"))
    answers = _answers(artifacts.folder("Predictions"), class_names)
    samples, pictures = _samples(examples, len(class_names)) if examples else ({}, {})
    limit = CELL_IMAGES
    if answers is not None and examples:
        limit = cell_limit(answers, next(iter(pictures.values()), None))
        pictures |= _pictures_of_answers(answers, examples, limit)
    return Facts(
        run=run,
        summary=summary,
        nodes=_nodes(store, run, summary),
        class_names=class_names or (answers.class_names if answers else []),
        answers=answers,
        cell_images=limit,
        pictures=pictures,
        samples=samples,
        statistics=_statistics(artifacts.folder("ExampleStatistics")),
        anomalies=_anomalies(artifacts.folder("DataBlessing")),
        others=_others(store, output, run),
    )


def read_summary(output: Path, run_id: str) -> dict:
    """Returns the content of a run's summary.json, {} where there is none."""
    try:
        return json.loads((output / "runs" / run_id / "summary.json").read_text())
    except (OSError, ValueError):
        return {}


class _Artifacts:
    """The artifacts that a run made, took from the cache or, in a partial run, read; by type."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._found: dict[str, int] = {}
        executions = store.executions_of(run)
        # What was made counts more than what was read, and an artifact that a resolver chose is another run's.
        for events in (store.outputs, store.inputs):
            for execution in executions:
                if execution.type.endswith(".Resolver"):
                    continue
                for key, number in events.get(execution.id, ()):
                    if key not in ("proposal", "baseline_model", "accepted_statistics"):
                        self._found.setdefault(store.artifacts[number].type, number)

    def folder(self, kind: str) -> Path | None:
        """Returns the folder of the artifact of type `kind`, None where there is none any more."""
        folder = Path(self._store.artifacts[self._found[kind]].uri) if kind in self._found else None
        return folder if folder is not None and folder.is_dir() else None

    def properties(self, kind: str) -> dict:
        """Returns the custom properties of the artifact of type `kind`."""
        return self._store.properties("Artifact", self._found[kind]) if kind in self._found else {}


def _nodes(store: Store, run: Run, summary: dict) -> list[Node]:
    executions = {execution.node: execution for execution in store.executions_of(run)}
    makers: dict[int, str] = {}
    for execution in executions.values():
        for _, artifact in store.outputs.get(execution.id, ()):
            makers[artifact] = execution.node if artifact not in makers or _is_maker(execution) else makers[artifact]
    recorded = {node["id"]: node for node in summary.get("nodes") or []}
    names = list(recorded) or [name for name in NODES if name in executions]
    found = []
    for name in names:
        execution = executions.get(name)
        known = recorded.get(name, {})
        made = []
        reads = _reads(store, execution or _earlier(store, name, run), makers) - {name}
        if execution is not None:
            reads = reads or _reads(store, _earlier(store, name, run), makers) - {name}
            made = [f"{key}: {store.artifacts[number].type} a{number}" for key, number in _outputs(store, execution)]
        state = known.get("state") or (_STATES.get(execution.state, "failed") if execution else "skipped")
        seconds = known.get("seconds", (execution.ended - execution.started) / 1000 if execution else None)
        found.append(Node(id=name, state=state, seconds=seconds, reads=tuple(sorted(reads)), made=tuple(made)))
    return found


def _earlier(store: Store, node: str, run: Run) -> Execution | None:
    """Returns the latest execution of a node up to `run` that read something: a run of a part repeats no inputs."""
    earlier = {other.id for other in store.runs() if other.number <= run.number}
    found = [e for e in store.executions.values() if e.node == node and e.run in earlier and store.inputs.get(e.id)]
    return found[-1] if found else None


def _reads(store: Store, execution: Execution | None, makers: dict[int, str]) -> set[str]:
    """Returns the nodes that made what an execution read, in this run or an earlier one."""
    if execution is None:
        return set()
    numbers = [number for _, number in store.inputs.get(execution.id, ())]
    producers = {n: store.executions[store.producers[n]].node for n in numbers if n in store.producers}
    return {makers.get(number) or producers[number] for number in numbers if number in makers or number in producers}


def _is_maker(execution: Execution) -> bool:
    return not execution.type.endswith(".Resolver")


def _outputs(store: Store, execution: Execution) -> list[tuple[str, int]]:
    return store.outputs.get(execution.id, []) if _is_maker(execution) else []


def _answers(folder: Path | None, class_names: list[str]) -> Answers | None:
    path = folder / PREDICTIONS_FILE if folder else None
    return read_answers(path, class_names) if path is not None and path.is_file() else None


def _samples(examples: Path, classes: int) -> tuple[dict, dict]:
    """Takes the first SAMPLE_IMAGES images of each class in each split."""
    samples: dict[str, dict[int, list[int]]] = {}
    pictures = {}
    for split in SPLITS:
        found: dict[int, list[int]] = {label: [] for label in range(classes)}
        for position, image, label in read_examples(shards_of(examples, split), set(range(_SAMPLED_RECORDS))):
            places = found.setdefault(label, [])
            if len(places) < SAMPLE_IMAGES:
                places.append(position)
                pictures[split, position] = image
            elif all(len(places) == SAMPLE_IMAGES for places in found.values()):
                break
        if any(found.values()):
            samples[split] = found
    return samples, pictures


def cell_limit(answers: Answers, image: np.ndarray | None) -> int:
    """Returns how many images of the size of `image` may be shown of each cell, 1 to CELL_IMAGES."""
    cells = len(set(zip(answers.label.tolist(), answers.prediction.tolist(), strict=True)))
    size = 1 if image is None else np.asarray(thumbnail(image)).nbytes
    return max(1, min(CELL_IMAGES, _PIXEL_BYTES // max(1, cells * size)))


def _pictures_of_answers(answers: Answers, examples: Path, limit: int) -> dict[tuple[str, int], np.ndarray]:
    """Reads the images that the confusion matrix and the list of errors show."""
    chosen = [most_confident_errors(answers, ERROR_IMAGES), *cell_examples(answers, limit).values()]
    wanted = set(answers.example[np.concatenate(chosen)].tolist())
    return {(TEST, number): image for number, image, _ in read_examples(shards_of(examples, TEST), wanted)}


def _statistics(folder: Path | None) -> list[SplitStatistics]:
    if folder is None:
        return []
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = []
    for split in SPLITS:
        path = folder / f"Split-{split}" / "FeatureStats.pb"
        if not path.is_file():
            continue
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
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
            )
        )
    return found


def _buckets(stats) -> list[tuple[float, float, float]]:
    """Returns low, high and count of the bins of the histogram by quantiles, which shows where the values lie."""
    quantiles = [h for h in stats.histograms if h.type == h.QUANTILES] or list(stats.histograms)
    return [(b.low_value, b.high_value, b.sample_count) for b in quantiles[0].buckets] if quantiles else []


def _anomalies(folder: Path | None) -> list[dict]:
    path = folder / "anomalies.json" if folder else None
    return json.loads(path.read_text()) if path is not None and path.is_file() else []


def _others(store: Store, output: Path, run: Run) -> dict[str, dict]:
    """Returns the summaries of the run before this one that came to an evaluation, and of the one that is served."""
    read = functools.cache(lambda run_id: read_summary(output, run_id))
    earlier = [other.id for other in store.runs() if other.number < run.number and read(other.id).get("metrics")]
    found: dict[str, dict] = {}
    if earlier:
        found["previous"] = read(earlier[-1])
    served = served_run([*map(read, earlier), read(run.id)])
    if served and served["run_id"] != run.id:
        found["served"] = served
    return found


def served_run(summaries: list[dict]) -> dict | None:
    """Returns the summary whose pushed model has the highest version that is still in the serving folder."""
    pushed = [
        summary for summary in summaries if summary.get("pushed_model") and Path(summary["pushed_model"]).is_dir()
    ]
    versions: Mapping = {int(Path(summary["pushed_model"]).name): summary for summary in pushed}
    return versions[max(versions)] if versions else None
