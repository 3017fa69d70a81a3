"""The part of the DAG that runs, and what is kept of a run, on a real database of ML Metadata."""

import json

import numpy as np
import pytest
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.portable import runtime_parameter_utils

from components.example_gen.dataset import inspect_dataset
from components.errors import InputError
from pipeline.config import preset
from pipeline.run.dry_run import foresee
from pipeline.metadata import runs
from pipeline.metadata.store import Store
from pipeline.nodes import NODES, Selection
from pipeline.run.partial_run import is_skipped, prepare
from pipeline.pipeline import create_pipeline
from pipeline.run.run import exit_status
from pipeline.run.record import close_abandoned_records, close_record, open_record


@pytest.fixture
def dataset(idx_folder):
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    return inspect_dataset(idx_folder(images, labels, images, labels))


@pytest.fixture
def config(tmp_path):
    return preset("smoke", output_root=tmp_path / "output")


@pytest.fixture
def pipeline(config, dataset):
    """The compiled pipeline, in a run named "now"."""
    found = compiler.Compiler().compile(create_pipeline(config, dataset))
    parameters = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: "now"}
    runtime_parameter_utils.substitute_runtime_parameter(found, parameters)
    return found


@pytest.fixture
def handle(config):
    config.output_root.mkdir()
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(config.metadata_path))) as handle:
        yield handle


def test_part_without_an_earlier_run_names_the_outputs_that_it_needs(handle, pipeline, tmp_path):
    with pytest.raises(InputError) as raised:
        prepare(handle, pipeline, Selection(from_node="SchemaGen", to_node="SchemaGen"), tmp_path)
    assert str(raised.value) == (
        f"--only SchemaGen: no earlier run in {tmp_path} has the outputs of ExampleGen, StatisticsGen. "
        "Run the whole pipeline first."
    )


def test_part_between_nodes_in_the_wrong_order_is_refused(handle, pipeline, tmp_path):
    with pytest.raises(InputError, match=r"^--from Pusher --to ExampleGen: no node lies between them\. Swap them"):
        prepare(handle, pipeline, Selection(from_node="Pusher", to_node="ExampleGen"), tmp_path)


def test_part_from_the_start_needs_no_earlier_run(handle, pipeline, tmp_path):
    assert prepare(handle, pipeline, Selection(to_node="SchemaGen"), tmp_path) is None
    taken = [node.pipeline_node.node_info.id for node in pipeline.nodes if not is_skipped(node.pipeline_node)]
    assert taken == ["ExampleGen", "StatisticsGen", "SchemaGen"]


def test_dry_run_without_an_earlier_run_makes_nothing(config, dataset):
    forecasts = foresee(config, dataset, {})
    assert {forecast.id: forecast.state for forecast in forecasts} == dict.fromkeys(NODES, "would run")
    assert forecasts[0].reason == "no earlier run of it succeeded here"
    assert not config.output_root.exists()


def test_dry_run_on_a_database_that_is_none_is_refused(config, dataset):
    config.output_root.mkdir()
    config.metadata_path.write_bytes(b"precious" * 1000)
    with pytest.raises(InputError, match="expected a database of ML Metadata, found something else"):
        foresee(config, dataset, {})
    assert config.metadata_path.read_bytes() == b"precious" * 1000


def test_record_tells_what_a_run_was_made_of_and_how_it_ended(handle, pipeline, config):
    open_record(handle, pipeline, {"preset": "smoke", "seed": 7, "settings": {"seed": 7}, "git": None})
    (running,) = runs.list_runs(Store(config.metadata_path))
    assert (running["id"], running["state"], running["seed"]) == ("now", "running", 7)
    close_record(handle, "now", 4, {"test_accuracy": 0.5, "blessed": False, "pushed_model": None, "wall_seconds": 1.5})
    (ended,) = runs.list_runs(Store(config.metadata_path))
    assert (ended["state"], ended["accuracy"], ended["blessed"], ended["seconds"]) == ("not blessed", 0.5, False, 1.5)
    kept = Store(config.metadata_path).find_run("now").properties
    assert (kept["settings"], kept["git"], kept["exit_status"]) == ({"seed": 7}, None, 4)


@pytest.mark.parametrize(
    ("status", "state"), [(0, "done"), (1, "failed"), (2, "failed"), (3, "data refused"), (None, "interrupted")]
)
def test_state_of_an_ended_run_follows_from_its_exit_status(handle, pipeline, config, status, state):
    open_record(handle, pipeline, {})
    close_record(handle, "now", status, {})
    assert Store(config.metadata_path).find_run("now").properties["state"] == state


def test_what_a_killed_run_left_as_running_is_marked_by_the_next(handle, pipeline, config):
    open_record(handle, pipeline, {})
    close_abandoned_records(handle)
    assert Store(config.metadata_path).find_run("latest").properties["state"] == "interrupted"
    close_record(handle, "no such run", 0, {})
    assert len(Store(config.metadata_path).runs()) == 1


def test_record_survives_what_tfx_does_with_the_context(handle, pipeline, config):
    from tfx.orchestration.portable.mlmd import context_lib

    open_record(handle, pipeline, {"seed": 7})
    context_lib.prepare_contexts(handle, pipeline.nodes[1].pipeline_node.contexts)
    assert Store(config.metadata_path).find_run("now").properties["seed"] == 7
    kinds = {kind.name for kind in handle.store.get_context_types()}
    assert {"pipeline", "pipeline_run", "node"} <= kinds


@pytest.mark.parametrize(
    ("blessed", "pusher", "pushed", "status"),
    [
        (True, "ran", "serving/1", 0),
        (False, "ran", None, 4),
        (False, "skipped", None, 4),
        (None, "skipped", None, 0),
        (None, "ran", "serving/1", 0),
        (None, "ran", None, 4),
        (None, "cached", None, 4),
    ],
)
def test_exit_status_of_part_of_the_pipeline(blessed, pusher, pushed, status):
    nodes = [{"id": "Trainer", "state": "ran"}, {"id": "Pusher", "state": pusher}]
    assert exit_status({"blessed": blessed, "pushed_model": pushed, "nodes": nodes}) == status


def test_summary_of_provenance_is_what_the_context_holds(handle, pipeline, config):
    open_record(handle, pipeline, {"code": {"modules": {"a": "1"}}, "command": ["x", "--seed", "7"]})
    kept = Store(config.metadata_path).find_run("now").properties
    assert json.dumps(kept["code"]) == '{"modules": {"a": "1"}}'
    assert kept["command"] == ["x", "--seed", "7"]
