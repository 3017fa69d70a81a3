"""What is known of each node: what its line says, what the record keeps, and which part of the DAG a run takes."""

import pytest

from components.errors import InputError
from pipeline.nodes import NODES, Selection


@pytest.mark.parametrize(
    ("node", "outputs", "told"),
    [
        ("ExampleGen", {"examples": {"counts": '{"train": 55000, "val": 5000, "test": 10000}'}}, "70,000 examples"),
        (
            "ExampleValidator",
            {"anomalies": {"blessed": {"train": 1.0, "test": 0.0}}},
            "1 of 2 splits without anomalies",
        ),
        ("AcceptedData", {"candidate": {"id": 4}}, "none yet"),
        ("BlessedModel", {"subject": {"id": 8}, "candidate": {"id": 21}}, "artifact 8"),
        ("DataGate", {"blessing": {"warnings": 2}}, "passed, 2 warnings"),
        (
            "Trainer",
            {"model_run": {"training": '{"val_accuracy": 0.92459, "epochs": 8}'}},
            "92.46 % validation, 8 epochs",
        ),
        (
            "InfraValidator",
            {"blessing": {"measured": '{"examples": 10000, "litert_disagreements": 2}'}},
            "served 10,000 images, 2 otherwise by LiteRT",
        ),
        ("BulkInferrer", {"predictions": {"examples": 10000}}, "10,000 predictions"),
        ("Evaluator", {"blessing": {"blessed": 1}, "evaluation": {"test_accuracy": 0.9246}}, "blessed, 92.46 % test"),
        ("Evaluator", {"blessing": {"blessed": 0}, "evaluation": {"test_accuracy": 0.1}}, "not blessed, 10.00 % test"),
        ("Pusher", {"pushed_model": {"pushed": 0, "pushed_version": ""}}, "not pushed"),
        ("SchemaGen", {"schema": {}}, "curated"),
        (
            "SchemaGen",
            {"schema": {"curated": 0, "uri": "/o/schema/4"}},
            "inferred; to make it the curated one, copy /o/schema/4/schema.pbtxt beside the data",
        ),
    ],
)
def test_node_tells_what_it_made(node, outputs, told):
    assert NODES[node].detail(outputs) == told


@pytest.fixture
def pushed(tmp_path):
    """What the Pusher put out for version 5 of a folder with the versions 5 and, if a test makes them, others."""
    (tmp_path / "5").mkdir()
    return {"pushed_model": {"pushed": 1, "pushed_version": "5", "pushed_destination": str(tmp_path / "5")}}


def test_pushed_version_that_is_served_is_told_as_such(pushed, tmp_path):
    assert NODES["Pusher"].detail(pushed) == "version 5"
    assert NODES["Pusher"].facts(pushed) == {"pushed_model": str(tmp_path / "5"), "served_model": str(tmp_path / "5")}


def test_pushed_version_is_told_by_the_number_that_shows_it(pushed, tmp_path):
    (tmp_path / "6").mkdir()
    (tmp_path / "7").symlink_to("5")
    assert NODES["Pusher"].facts(pushed) == {"pushed_model": str(tmp_path / "7"), "served_model": str(tmp_path / "7")}


def test_pushed_version_that_is_not_served_is_not_said_to_be(pushed, tmp_path):
    (tmp_path / "6").mkdir()
    assert NODES["Pusher"].detail(pushed) == "version 5 was pushed before; 6 is served"
    assert NODES["Pusher"].facts(pushed)["served_model"] == str(tmp_path / "6")


def test_unknown_node_names_the_nodes_there_are():
    with pytest.raises(InputError, match=r"^node Traner: expected .* \(ExampleGen, StatisticsGen, .*, Pusher\)\.$"):
        Selection(from_node="Traner")


def test_selection_is_true_where_it_leaves_something_out():
    assert not Selection()
    assert str(Selection(from_node="Trainer", to_node="Evaluator")) == "--from Trainer --to Evaluator"


def test_registry_names_the_nodes_of_the_pipeline_and_code_that_exists():
    from benchmarks.recorded_runs import dag
    from pipeline.run.code_digest import imported_modules, library_versions

    assert set(dag()) == set(NODES)
    for node in NODES.values():
        assert imported_modules(node.modules) or library_versions(node.modules), node.id
