"""Transform asks the artifact what it holds; examples that are not what they say are an error."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components import places
from components.artifacts import describe_examples
from components.errors import DataRefused
from components.transform import analysis
from components.transform.analysis import batch_rows
from components.transform.component import ImageTransform
from models.examples import Examples, ExamplesError

SCHEMA = text_format.Parse(
    """
    feature { name: "image" type: BYTES presence { min_fraction: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 } shape { dim { size: 1 } } }
    """,
    schema_pb2.Schema(),
)
IMAGES = np.random.default_rng(0).integers(0, 256, (21, 5, 4), np.uint8)
SPLITS = {"train": (IMAGES[:15], np.arange(15) % 3), "val": (IMAGES[15:], np.arange(6) % 3)}


def artifact_of(examples: Examples) -> types.Artifact:
    artifact = standard_artifacts.Examples()
    artifact.uri = str(examples.folder)
    artifact.split_names = artifact_utils.encode_split_names(list(examples.counts))
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    describe_examples(artifact, examples)
    return artifact


@pytest.fixture
def transform(tmp_path):
    """Runs the component as the pipeline declares it; returns the folder of its graph."""

    def run(source: types.Artifact) -> str:
        schema, graph = standard_artifacts.Schema(), standard_artifacts.TransformGraph()
        schema.uri, graph.uri = str(tmp_path / "schema"), str(tmp_path / "graph")
        Path(schema.uri).mkdir()
        Path(schema.uri, "schema.pbtxt").write_text(text_format.MessageToString(SCHEMA))
        component = ImageTransform(
            examples=types.Channel(type=standard_artifacts.Examples),
            schema=types.Channel(type=standard_artifacts.Schema),
        )
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
            tmp_dir=str(tmp_path / "tmp"),
            unique_id="1",
        )
        inputs, outputs = {"examples": [source], "schema": [schema]}, {"transform_graph": [graph]}
        component.executor_spec.executor_class(context).Do(inputs, outputs, component.exec_properties)
        return graph.uri

    return run


@pytest.fixture(autouse=True)
def budget(monkeypatch) -> None:
    monkeypatch.setattr(places, "memory", lambda: 256 * 2**20)


def test_artifact_that_does_not_say_what_it_holds_is_refused_in_a_line(transform, examples, tmp_path):
    source = standard_artifacts.Examples()
    source.uri = str(examples(SPLITS).folder)
    with pytest.raises(ExamplesError, match=r"expected examples that say their encoding, .* Run ExampleGen again\."):
        transform(source)
    assert not (tmp_path / "graph").exists()


def statistics(graph: str, record: bytes) -> dict[str, np.ndarray]:
    """Asks the graph about one record, whose image must be stored as those that were analyzed."""
    output = tft.TFTransformOutput(graph)
    (spec,) = output.raw_feature_spec().values()
    features = {"image": tf.reshape(tf.constant([record]), [1, *spec.shape])}
    return {name: value[0].numpy() for name, value in output.transform_raw_features(features).items()}


@pytest.mark.parametrize(("encoding", "compression"), [("tensor", ""), ("png", "GZIP")])
def test_graph_holds_the_exact_sums_over_the_training_split(transform, examples, encoding, compression):
    graph = transform(artifact_of(examples(SPLITS, encoding=encoding, compression=compression)))
    image = IMAGES[0, ..., None]
    record = (tf.io.serialize_tensor(image[..., 0]) if encoding == "tensor" else tf.io.encode_png(image)).numpy()
    found = statistics(graph, record)
    values = IMAGES[:15, ..., None].astype(object)  # Python's integers
    assert found["pixel_count"] == 15
    assert found["pixel_sum"].tolist() == values.sum(axis=0).tolist()
    assert found["pixel_sum_of_squares"].tolist() == (values**2).sum(axis=0).tolist()


@pytest.mark.slow
def test_as_many_images_are_summed_at_a_time_as_their_bytes_allow(transform, examples, monkeypatch):
    assert batch_rows((28, 28), 2**30) == 1000
    # A sixteenth of the budget, 40 bytes for each value of an image: 67,108,864 / 6,021,120
    assert batch_rows((224, 224, 3), 2**30) == 11
    assert batch_rows((4000, 4000, 3), 2**30) == 1
    read, asked = analysis.read_batches, []
    monkeypatch.setattr(analysis, "read_batches", lambda *arguments: asked.append(arguments[-1]) or read(*arguments))
    # 5 images of 5x4: a sixteenth of 64,000 is 4,000.
    monkeypatch.setattr(places, "memory", lambda: 64_000)
    graph = transform(artifact_of(examples(SPLITS)))
    assert set(asked) == {5}
    found = statistics(graph, tf.io.serialize_tensor(IMAGES[0]).numpy())
    assert found["pixel_sum"].tolist() == IMAGES[:15, ..., None].sum(axis=0, dtype=np.int64).tolist()


@pytest.mark.parametrize(
    ("told", "stored"), [("tensor", "png"), ("png", "tensor"), ("jpeg", "png"), ("tensor", "jpeg")]
)
def test_images_stored_otherwise_than_the_artifact_says_are_an_error(transform, examples, told, stored):
    with pytest.raises(Exception, match="an image of the batch is not stored as the examples say, which is") as raised:
        transform(artifact_of(examples(SPLITS, encoding=told, stored=stored)))
    assert f"[{told}]" in str(raised.value)


def test_images_of_another_shape_than_the_artifact_says_are_an_error(transform, examples):
    described = dataclasses.replace(examples(SPLITS), image_shape=(4, 5))
    with pytest.raises(Exception, match="an image of the batch is not stored as the examples say, which is"):
        transform(artifact_of(described))


def test_damaged_shard_is_refused_in_a_line_and_leaves_no_graph(transform, examples, tmp_path):
    source = examples(SPLITS)
    (shard, *_) = source.shards("train")
    content = bytearray(shard.read_bytes())
    content[-10] ^= 1
    shard.write_bytes(content)
    with pytest.raises(Exception, match="expected records of an image and a label, found a damaged one") as raised:
        transform(artifact_of(source))
    # Beam's has the traceback of a worker in front.
    assert isinstance(raised.value, DataRefused) or "DataRefused" in str(raised.value)
    assert str(shard) in str(raised.value)
    assert not list((tmp_path / "graph").rglob("*.pb"))
