"""What a node's line says of what it made."""

import pytest

from pipeline.run.details import describe


@pytest.mark.parametrize(
    ("node", "artifacts", "told"),
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
        ("Pusher", {"pushed_model": {"pushed": 1, "pushed_version": "1795464417"}}, "version 1795464417"),
        ("Pusher", {"pushed_model": {"pushed": 0, "pushed_version": ""}}, "not pushed"),
    ],
)
def test_node_tells_what_it_made(node, artifacts, told):
    assert describe(node, artifacts) == told


@pytest.mark.parametrize("node", ["SchemaGen", "NobodyKnows"])
def test_node_that_nobody_described_has_no_detail(node):
    assert describe(node, {"schema": {}}) == ""


@pytest.mark.parametrize("artifacts", [{}, {"evaluation": {}}, {"blessing": {"blessed": 1}, "evaluation": {}}])
def test_artifact_without_the_property_has_no_detail_and_fails_nothing(artifacts):
    assert describe("Evaluator", artifacts) == ""
