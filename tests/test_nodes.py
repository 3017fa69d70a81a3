"""What is known of each node: what its line says, what the record keeps, and which part of the DAG a run takes."""

import json
from pathlib import Path

import pytest

from components.errors import InputError
from models.card import CARD_FILE
from pipeline.config import PipelineConfig
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
        ("DataGate", {"blessing": {"warnings": 1}}, "passed, 1 warning"),
        ("ExampleGen", {"examples": {"counts": '{"train": 1}'}}, "1 example"),
        (
            "Trainer",
            {"model_run": {"training": '{"val_accuracy": 0.92459, "epochs": 8}'}},
            "92.46 % validation, 8 epochs",
        ),
        (
            "Tuner",
            {
                "tuner_results": {
                    "trials": '[{"trial": "0", "val_accuracy": 0.9}, {"trial": "1", "val_accuracy": 0.925}, '
                    '{"trial": "2", "val_accuracy": 0.925}]'
                }
            },
            "3 trials, best 1 with 92.50 % validation, as it stands 90.00 %",
        ),
        (
            "InfraValidator",
            {"blessing": {"measured": '{"examples": 10000, "litert_disagreements": 2}'}},
            "served 10,000 images, 2 otherwise by LiteRT",
        ),
        ("BulkInferrer", {"predictions": {"examples": 10000}}, "10,000 predictions"),
        ("Evaluator", {"blessing": {"blessed": 1}, "evaluation": {"test_accuracy": 0.9246}}, "blessed, 92.46 % test"),
        ("Evaluator", {"blessing": {"blessed": 0}, "evaluation": {"test_accuracy": 0.1}}, "not blessed, 10.00 % test"),
        (
            "Pusher",
            {"pushed_model": {"outcome": "not blessed", "serving_folder": "none", "content_digest": "one"}},
            "not pushed",
        ),
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
def version(tmp_path):
    """Makes a version of a content, as a push makes it."""

    def make(number: int, content: str) -> None:
        card = tmp_path / str(number) / CARD_FILE
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"digest": content}))

    return make


@pytest.fixture
def pushed(tmp_path, version):
    """What the Pusher put out for version 5 of a folder with the versions 5 and, if a test makes them, others."""
    version(5, "one")
    return {"pushed_model": {"outcome": "pushed", "serving_folder": str(tmp_path), "content_digest": "one"}}


def told(outputs: dict) -> list:
    """Returns the line, and the names of the facts' folders."""
    facts = NODES["Pusher"].facts(outputs)
    folders = [facts[name] and Path(facts[name]).name for name in ("pushed_model", "served_model")]
    return [NODES["Pusher"].detail(outputs), facts["push"], *folders]


def test_pushed_version_that_is_served_is_told_as_such(pushed):
    assert told(pushed) == ["version 5", "pushed", "5", "5"]


def test_pushed_version_is_told_by_the_number_that_shows_it(pushed, version, tmp_path):
    version(6, "two")
    (tmp_path / "7").symlink_to("./5")
    assert told(pushed) == ["version 7", "pushed", "7", "7"]


def test_pushed_version_that_is_not_served_is_not_said_to_be(pushed, version):
    version(6, "two")
    assert told(pushed) == ["version 5 was pushed before; 6 is served", "pushed", "5", "6"]


def test_what_a_rollback_took_back_is_told_whoever_pushed_it(pushed, version, tmp_path):
    version(6, "two")
    (tmp_path / "7").symlink_to("5")
    two = {"pushed_model": pushed["pushed_model"] | {"content_digest": "two"}}
    assert told(two) == ["version 6 was taken back; 7 is served", "taken back", "6", "7"]
    assert NODES["Pusher"].gate.passes(two)
    (tmp_path / "8").symlink_to("./6")
    refused = {"pushed_model": two["pushed_model"] | {"outcome": "taken back"}}
    assert told(refused) == ["served already as version 8", "served already", "8", "8"], "a person published it since"


def test_model_that_is_held_back_is_no_refusal_and_tells_when_it_is_served_all_the_same(pushed, version):
    held = {"pushed_model": pushed["pushed_model"] | {"outcome": "held back", "content_digest": "two"}}
    assert told(held) == ["not pushed: held back", "held back", None, "5"]
    assert NODES["Pusher"].gate.passes(held) is None
    version(6, "two")
    assert told(held) == ["served already as version 6", "served already", "6", "6"]


def test_unknown_node_names_the_nodes_there_are():
    with pytest.raises(InputError, match=r"^node Traner: expected .* \(ExampleGen, StatisticsGen, .*, Pusher\)\.$"):
        Selection(from_node="Traner")


def test_selection_is_true_where_it_leaves_something_out():
    assert not Selection()
    assert str(Selection(from_node="Trainer", to_node="Evaluator")) == "--from Trainer --to Evaluator"


def test_registry_names_the_nodes_of_the_pipeline_and_code_that_exists():
    from benchmarks.recorded_runs import dag
    from pipeline.run.code_digest import imported_modules, library_versions

    assert set(dag()) == {node.id for node in NODES.values() if node.asked(PipelineConfig())}
    assert set(NODES) - set(dag()) == {"Spans", "Window", "Tuner", "WarmStart"}
    for node in NODES.values():
        assert imported_modules(node.modules) or library_versions(node.modules), node.id


def test_what_a_resolver_chooses_for_a_node_is_compared_with_or_made_of_and_the_node_says_which():
    """A resolver that is new has its readers decide: `lineage` would follow what they only compare with."""
    from benchmarks.recorded_runs import dag

    given: dict[str, set[str]] = {}
    for in_spans in (False, True):
        nodes = dag(in_spans=in_spans, warm_start=True)
        for node in (node for node in nodes.values() if not node.is_resolver):
            sources = {key: source for key, source in node.inputs.items() if source}
            chosen = {key for key, source in sources.items() if nodes[source.split(".")[0]].is_resolver}
            given.setdefault(node.id, set()).update(chosen)
            assert not {*NODES[node.id].compares} & (sources.keys() - chosen), node.id
    made_of = {node: keys - {*NODES[node].compares} for node, keys in given.items()}
    assert {node: keys for node, keys in made_of.items() if keys} == {
        "Window": {"spans", "span_statistics"},
        "Trainer": {"base_model"},
    }
    assert {node.id: {*node.compares} for node in NODES.values() if node.compares} == {
        "DataGate": {"accepted_statistics", "earlier", "own", "served_model"},
        "BulkInferrer": {"baseline_model"},
    }
