"""Transform asks the artifact what it holds; examples that are not what they say are an error."""

from pathlib import Path

import numpy as np
import pytest
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import describe_examples
from components.errors import DataRefused
from components.transform import analysis
from components.transform.component import ImageTransform
from models.examples import Examples, ExamplesError
from models.preprocessing import COUNT, SUM, partial_sums, read_statistics

NOT_AS_TOLD = "an image of the batch is not stored as the examples say, which is"
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
        graph = standard_artifacts.TransformGraph()
        graph.uri = str(tmp_path / "graph")
        component = ImageTransform(examples=types.Channel(type=standard_artifacts.Examples))
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
            tmp_dir=str(tmp_path / "tmp"),
            unique_id="1",
        )
        inputs, outputs = {"examples": [source]}, {"transform_graph": [graph]}
        component.executor_spec.executor_class(context).Do(inputs, outputs, component.exec_properties)
        return graph.uri

    return run


def test_artifact_that_does_not_say_what_it_holds_is_refused_in_a_line(transform, examples, tmp_path):
    source = standard_artifacts.Examples()
    source.uri = str(examples(SPLITS).folder)
    with pytest.raises(ExamplesError, match=r"expected examples that say their encoding, .* Run ExampleGen again\."):
        transform(source)
    assert not (tmp_path / "graph").exists()


@pytest.mark.parametrize(("encoding", "compression"), [("tensor", ""), ("png", "GZIP")])
def test_graph_holds_the_statistics_of_the_training_split(transform, examples, encoding, compression):
    graph = transform(artifact_of(examples(SPLITS, encoding=encoding, compression=compression)))
    mean, variance = read_statistics(graph, (5, 4))
    values = IMAGES[:15, ..., None].astype(np.float64)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-12, atol=1e-12)
    assert not list(Path(graph).glob(".*")), "what TensorFlow Transform has put aside is gone"


def test_images_are_summed_some_at_a_time_and_shards_give_one_sum(examples, monkeypatch):
    source = examples(SPLITS)
    monkeypatch.setattr(analysis, "block_rows", lambda shape: 4)
    seen = []
    monkeypatch.setattr(analysis, "partial_sums", lambda images: seen.append(len(images)) or partial_sums(images))
    found = analysis._sums(source.shards("train"), "", (5, 4), "tensor")
    assert sum(seen) == 15 and max(seen) == 4
    assert found[COUNT] == 15
    assert found[SUM].tolist() == IMAGES[:15].reshape(15, -1).sum(axis=0).tolist()


@pytest.mark.parametrize(
    ("told", "stored"), [("tensor", "png"), ("png", "tensor"), ("jpeg", "png"), ("tensor", "jpeg")]
)
def test_images_stored_otherwise_than_the_artifact_says_are_refused_in_a_line(examples, told, stored):
    source = examples(SPLITS, encoding=told, stored=stored)
    with pytest.raises(DataRefused) as raised:
        analysis._sums(source.shards("train"), "", (5, 4), told)
    assert f"after record 0 (assertion failed: [{NOT_AS_TOLD}] [{told}]" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_images_of_another_shape_than_the_artifact_says_are_refused_in_a_line(examples):
    with pytest.raises(DataRefused) as raised:
        analysis._sums(examples(SPLITS).shards("train"), "", (4, 5), "tensor")
    assert f"after record 0 (assertion failed: [{NOT_AS_TOLD}]" in str(raised.value)


def test_shard_without_records_is_refused(examples):
    source = examples(SPLITS)
    source.shards("train")[1].write_bytes(b"")
    with pytest.raises(DataRefused, match=r"data_tfrecord-00001-of-00002: expected records, found none\."):
        analysis._sums(source.shards("train"), "", (5, 4), "tensor")


def test_what_is_on_its_way_is_bounded_in_bytes():
    shards = [Path(str(number)) for number in range(1_000)]
    for shape, count in (((28, 28), 64), ((224, 224, 3), 64), ((1_182, 1_182, 3), 4), ((9_000, 9_000, 3), 1)):
        groups = analysis._groups(shards, shape)
        assert len(groups) == count
        assert sorted(shard for group in groups for shard in group) == sorted(shards)
    assert len(analysis._groups(shards[:3], (28, 28))) == 3


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
