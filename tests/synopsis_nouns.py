"""What the synopses suppose, as small as it can be; `tests/test_synopses.py` runs them."""

import dataclasses
import functools
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import keras
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_data_validation as tfdv
from PIL import Image
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.types import Channel, standard_artifacts
from tfx.types.artifact_utils import encode_split_names

from benchmarks.recorded_runs import RecordedRuns
from components.artifacts import describe_examples
from components.bulk_inferrer.inference import predict
from components.evaluator.eval_config import eval_config
from components.evaluator.evaluation import evaluate
from components.evaluator.results import read_metrics
from components.example_gen.dataset import inspect_dataset
from components.example_gen.idx import read_idx
from components.example_gen.ingest import SplitSettings
from components.example_gen.kinds import find_kind
from components.exporter.component import Exporter
from components.pusher.serving_folder import publish
from components.schema_gen.proposal import propose_schema
from models.config import NetworkConfig, TrainingConfig
from models.export import export_model
from models.features import FASHION_MNIST_CLASSES, SPLITS
from models.input_pipeline import first_records, open_split
from models.networks import NetworkInputs, build_network
from models.profiling import StepProfiler
from models.tfrecords import parse_example
from models.trained import Trained
from pipeline.config import PipelineConfig
from pipeline.metadata.library import connection_to
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.pipeline import create_pipeline
from pipeline.presets import preset
from pipeline.report.collect import collect
from pipeline.report.index import overlook
from pipeline.run.code_digest import ROOT
from pipeline.settings import Settings
from pipeline.sweep.factors import Point
from pipeline.sweep.results import Row
from tests.forms import encoded
from tests.served_models import write_examples
from tests.test_partial_run import record_data
from tests.test_schema_gen import statistics_of

SHAPE, CLASSES = (28, 28, 1), len(FASHION_MNIST_CLASSES)
NETWORK = NetworkConfig(stem_size=2, widths=(8,), blocks=(0,), pools=(True,))
EARLIER, LATEST = "20261122-080000-000", "20261123-200513-360"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def new_model() -> keras.Model:
    """Returns a compiled linear model from uint8 images to logits."""
    layers = [keras.Input(SHAPE), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
    return model


def new_pipeline() -> beam.Pipeline:
    """Returns a Beam pipeline that runs in this process."""
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


class Once:
    """What all synopses share, because they only read it.

    Attributes:
      folder: where it is made.
      fixture: gives a fixture of pytest's by its name.
    """

    def __init__(self, folder: Path, fixture: Callable[[str], Path]) -> None:
        self.folder, self.fixture = folder, fixture
        self.images = np.random.default_rng(0).integers(0, 256, (300, *SHAPE)).astype(np.uint8)
        self.labels = np.arange(300) % CLASSES
        self.mean, self.variance = np.full(SHAPE, 127.5), np.full(SHAPE, 5461.0)
        inputs = {"input_shape": SHAPE, "classes": CLASSES, "mean": self.mean, "variance": self.variance}
        self.inputs = NetworkInputs(**inputs, sample=self.images)

    @functools.cached_property
    def examples(self):
        images, labels = self.images[..., 0], self.labels
        splits = {"train": (images, labels), "val": (255 - images[:100], labels[:100])}
        splits["test"] = 255 - images[100:200], labels[100:200]
        return write_examples(self.folder / "examples", splits, FASHION_MNIST_CLASSES, compression="GZIP")

    @functools.cached_property
    def with_duplicates(self):
        splits = dict.fromkeys(SPLITS, (self.images[:10, ..., 0], self.labels[:10]))
        return write_examples(self.folder / "with_duplicates", splits, FASHION_MNIST_CLASSES)

    @functools.cached_property
    def records(self) -> list[bytes]:
        return first_records(self.examples, "val", 4)

    @functools.cached_property
    def artifact(self) -> standard_artifacts.Examples:
        artifact = standard_artifacts.Examples()
        artifact.uri, artifact.split_names = str(self.examples.folder), encode_split_names(list(SPLITS))
        describe_examples(artifact, self.examples)
        return artifact

    @functools.cached_property
    def statistics(self) -> dict:
        return dict.fromkeys(SPLITS, statistics_of(self.images[..., 0], self.labels))

    @functools.cached_property
    def schema(self):
        return propose_schema(self.statistics, class_count=CLASSES)

    @functools.cached_property
    def data(self) -> Path:
        return self.fixture("fashion_mnist")

    @functools.cached_property
    def dataset(self):
        return inspect_dataset(self.data)

    @functools.cached_property
    def trained(self) -> Trained:
        weights = build_network(NETWORK, self.inputs, seed=0).get_weights()
        learned = {"mean": self.mean, "variance": self.variance, "temperature": 1.5, "weights": weights}
        return Trained(network=NETWORK, image_shape=SHAPE[:2], class_names=FASHION_MNIST_CLASSES, **learned)

    @functools.cached_property
    def saved_model(self) -> Path:
        export_model(new_model(), self.folder / "saved_model", SHAPE[:2], FASHION_MNIST_CLASSES, self.records)
        return self.folder / "saved_model"

    @functools.cached_property
    def answers(self) -> Path:
        """The predictions for the test split."""
        predict(self.examples, {self.folder / "answers" / "predictions.parquet": self.saved_model}, new_pipeline())
        return self.folder / "answers" / "predictions.parquet"

    @functools.cached_property
    def evaluation(self) -> Path:
        config = eval_config({"accuracy": 0.0}, 0.005)
        evaluate(config, self.answers, None, FASHION_MNIST_CLASSES, self.folder / "evaluation", new_pipeline())
        return self.folder / "evaluation"

    @functools.cached_property
    def profiled(self) -> Path:
        """The logs of a training with a profile."""
        profiler = StepProfiler(str(self.folder / "profiled"), first_step=2, steps=2)
        new_model().fit(self.images[:20], self.labels[:20], batch_size=4, verbose=0, callbacks=[profiler])
        return self.folder / "profiled"

    @functools.cached_property
    def predicted(self) -> Path:
        """A folder with the predictions of two images, the second of them wrong."""
        probabilities = pa.array(np.eye(2, CLASSES).tolist(), pa.list_(pa.float32()))
        columns = {"source": ["a", "a"], "example": [0, 1], "label": [0, 0], "prediction": [0, 1]}
        (self.folder / "predicted").mkdir()
        table = pa.table({**columns, "probabilities": probabilities})
        pq.write_table(table, self.folder / "predicted" / "predictions.parquet")
        return self.folder / "predicted"

    @functools.cached_property
    def recorded(self) -> Path:
        """The output root of two runs that were recorded, not run."""
        runs = RecordedRuns(self.folder / "recorded")
        for run_id in (EARLIER, LATEST):
            runs.add(run_id, changed="Trainer", settings=Settings.of(preset("smoke")).as_dict())
            record_data(runs, run_id, self.dataset)
        return self.folder / "recorded"

    @functools.cached_property
    def output(self) -> Path:
        """The output root of a smoke run, to be written to; its model is served under a second name."""
        smoke, folder = self.fixture("smoke_output"), self.folder / "output"
        shutil.copytree(smoke, folder, symlinks=True, ignore=shutil.ignore_patterns("artifacts", ".lock"))
        (folder / "artifacts").symlink_to(smoke / "artifacts")
        (folder / "serving" / "fashion_mnist").symlink_to("fashion_mnist.smoke")
        return folder


def nouns(folder: Path, once: Once) -> dict[str, Callable[[], object]]:
    """Returns what makes each thing that a synopsis supposes, by its name.

    MODULE.NAME is what one module means by a name that others use otherwise.

    Args:
      folder: an empty one.
      once: what is shared.
    """
    root = OutputRoot(folder / "output")
    tiny = {"network": NETWORK, "epochs": 1, "batch_size": 20, "precision": "float32"}
    smoke = preset("smoke", output_root=root.path)

    def made(name: str, *files: str) -> Path:
        (folder / name).mkdir()
        for file in files:
            Image.fromarray(once.images[0, ..., 0]).save(folder / name / file)
        return folder / name

    def batches() -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((once.images, once.labels)).batch(50).repeat()

    def base() -> Path:
        (made("earlier") / "saved_model.pb").write_bytes(b"an earlier model")
        publish(folder / "earlier", folder / "serving", keep=5)
        return folder / "serving"

    def rows() -> Path:
        once.images.tofile(folder / "rows")
        return folder / "rows"

    def in_spans() -> Settings:
        made("incoming")
        np.savez(folder / "incoming" / "span-1.npz", x_train=once.images[..., 0], y_train=once.labels)
        return Settings.of(dataclasses.replace(smoke, data_dir=folder / "incoming" / "span-{SPAN}.npz"))

    def swept() -> list[Row]:
        measured = {"seconds": 60.0, "cpu_seconds": 60.0, "examples_per_second": 1e4}
        measured |= {"parameters": 9, "multiply_adds": 9}
        gains = {Point(): 0.0, Point((("training.shift", 1),)): 0.01}
        return [Row(point=p, seed=s, val_accuracy=0.9 + g * s, **measured) for p, g in gains.items() for s in (1, 2)]

    def compiled():
        compiled = compiler.Compiler().compile(create_pipeline(smoke, once.dataset))
        parameters = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: LATEST}
        runtime_parameter_utils.substitute_runtime_parameter(compiled, parameters)
        return compiled

    return {
        # what is written, and where
        "folder": lambda: made("folder"),
        "log_dir": lambda: folder / "logs",
        "log_path": lambda: folder / "log.txt",
        "path": lambda: folder / "shard",
        "plain": lambda: folder / "plain",
        "results": lambda: folder / "results",
        "scratch": lambda: made("scratch"),
        "table": lambda: pandas.DataFrame({"label": [1, 2]}),
        "target": lambda: folder / "predictions.parquet",
        "text": lambda: "{}\n",
        "tmp_path": lambda: folder,
        # data
        "accepted": dict,
        "artifact": lambda: once.artifact,
        "blocks": lambda: [(once.images[:4], once.labels[:4])],
        "class_names": lambda: list(FASHION_MNIST_CLASSES),
        "curated": lambda: once.schema,
        "components.schema_gen.differences.proposal": lambda: once.schema,
        "data": lambda: once.data,
        "dataset": lambda: once.dataset,
        "encoded_images": lambda: [parse_example(record)[0] for record in once.records],
        "examples": lambda: once.examples,
        "image": lambda: once.images[0],
        "images": lambda: once.images,
        "input_dict": lambda: {"examples": [once.artifact]},
        "labels": lambda: once.labels,
        "other": lambda: once.images[1],
        "pictures": lambda: made("pictures", "one.png", "two.png"),
        "properties": lambda: once.examples.properties(),
        "records": lambda: once.records,
        "schema": lambda: once.schema,
        "serialized": lambda: [parse_example(record)[0] for record in once.records],
        "shard": lambda: once.examples.shards("test")[0],
        "shards": lambda: once.examples.shards("test"),
        "statistics": lambda: once.statistics,
        "train": lambda: open_split(once.examples, "train", memory=2**20, scratch=made("cache")),
        "validated": lambda: {
            split: tfdv.validate_statistics(found, once.schema) for split, found in once.statistics.items()
        },
        "contents": lambda: once.dataset.contents,
        "encoded": lambda: encoded(once.images[0, ..., 0]),
        "indices": lambda: np.arange(2),
        "part": lambda: once.dataset.contents.parts["test"],
        "pixels": lambda: once.images[0],
        "components.bulk_inferrer.folder.contents": lambda: (lambda kind, found: kind.open(found))(
            *find_kind(made("asked", "one.png"), for_training=False)
        ),
        "components.data_gate.duplicates.examples": lambda: once.with_duplicates,
        "components.places.dataset": lambda: once.dataset,
        "components.bulk_inferrer.slicer.labels": lambda: once.labels[: len(once.records)],
        "components.example_gen.ingest.settings": lambda: SplitSettings(
            sizes=(20, 10, 10), shards=(2, 1, 1), seed=7, stratified=True, encoding="png", compression=""
        ),
        "components.example_gen.splits.labels": lambda: read_idx(once.data / "train-labels-idx1-ubyte.gz"),
        # models
        "baseline": lambda: once.saved_model,
        "batches": batches,
        "early_stopping": lambda: keras.callbacks.EarlyStopping(monitor="loss"),
        "inputs": lambda: once.inputs,
        "logits": lambda: np.eye(CLASSES, dtype=np.float32)[once.labels],
        "mean": lambda: once.mean,
        "model": new_model,
        "optimizer": lambda: "sgd",
        "saved_model": lambda: once.saved_model,
        "step": lambda: 3,
        "trained": lambda: once.trained,
        "variance": lambda: once.variance,
        "models.export.images": lambda: once.images[..., 0],
        "models.portable.images": lambda: once.images[..., 0],
        "models.row_reader.plain": rows,
        "models.profile_report.log_dir": lambda: once.profiled,
        "models.recipe.config": lambda: TrainingConfig(**tiny),
        "models.search_space.config": TrainingConfig,
        "models.tuner.config": TrainingConfig,
        "models.trials.config": lambda: TrainingConfig(**tiny),
        "models.trainer.config": lambda: TrainingConfig(**tiny),
        # what is measured
        "pipeline.sweep.page.rows": swept,
        "pipeline.sweep.results.rows": swept,
        "pipeline.sweep.words.rows": swept,
        "baseline_id": lambda: None,
        "blessing": standard_artifacts.ModelBlessing,
        "confidence": lambda: np.array([0.9, 0.6], np.float32),
        "evaluation": lambda: once.evaluation,
        "floors": lambda: {"accuracy": 0.0},
        "metrics": lambda: read_metrics(once.evaluation, FASHION_MNIST_CLASSES),
        "more_confidence": lambda: np.array([0.7], np.float32),
        "more_right": lambda: np.array([True]),
        "notes": list,
        "components.evaluator.evaluation.predictions": lambda: once.answers,
        "right": lambda: np.array([True, False]),
        "tolerance": lambda: 0.005,
        "components.evaluator.verdict.config": lambda: eval_config({"accuracy": 0.0}, 0.005),
        "pipeline.report.predictions.folder": lambda: once.predicted,
        # runs
        "base": base,
        "config": lambda: PipelineConfig(output_root=root.path),
        "connection": lambda: connection_to(root),
        "content": lambda: {"failure": None, "blessed": False, "nodes": [], "pushed_model": None, "exit_status": 4},
        "exporter": lambda: Exporter(
            examples=Channel(type=standard_artifacts.Examples),
            statistics=Channel(type=standard_artifacts.ExampleStatistics),
            model=Channel(type=standard_artifacts.Model),
        ),
        "facts": lambda: collect(OutputRoot(once.recorded), "latest"),
        "overview": lambda: overlook(OutputRoot(once.recorded)),
        "pipeline.metadata.periods.root": lambda: OutputRoot(once.recorded),
        "pipeline.metadata.periods.runs": lambda: Store(OutputRoot(once.recorded).metadata).runs(),
        "pipeline.engine.options.arguments": lambda: written(root.path / "beam.txt", "--parallelism=4\n# comment\n"),
        "pipeline.engine.worker_pool.address": lambda: f"127.0.0.1:{free_port()}",
        "pipeline.engine.worker_pool.log": lambda: written(root.path / "workers.log", ""),
        "outputs": lambda: {"examples": {"id": 1, "uri": "", "counts": '{"train": 3, "test": 1}'}},
        "new_pipeline": lambda: new_pipeline,
        "pipeline": new_pipeline,
        "project": lambda: ROOT,
        "provenance": lambda: {"settings": {}, "git": None},
        "root": lambda: root,
        "run_id": lambda: LATEST,
        "settings": lambda: Settings.of(smoke),
        "pipeline.run.night.settings": in_spans,
        "pipeline.run.partial_run.pipeline": compiled,
        "pipeline.run.partial_run.root": lambda: OutputRoot(once.recorded),
        "pipeline.run.record.pipeline": compiled,
        # scripts
        "python": lambda: sys.executable,
        "venv": lambda: made("venv"),
    }
