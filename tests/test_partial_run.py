"""The part of the DAG that runs, and on what: earlier runs on a real database of ML Metadata, recorded, not run."""

import dataclasses
import json

import numpy as np
import pytest
from tfx.dsl.compiler import compiler

from benchmarks.recorded_runs import RecordedRuns
from components.errors import InputError
from components.example_gen.dataset import inspect_dataset
from components.example_gen.spans import Span
from pipeline.nodes import NODES, Selection
from pipeline.output_root import OutputRoot
from pipeline.pipeline import create_pipeline
from pipeline.presets import preset
from pipeline.run.data import describe_data
from pipeline.run.dry_run import foresee
from pipeline.run.partial_run import find_base, is_skipped, mark
from pipeline.settings import Settings, resolve


@pytest.fixture
def dataset(idx_folder):
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    return inspect_dataset(idx_folder(images, labels, images, labels))


@pytest.fixture
def root(tmp_path) -> OutputRoot:
    return OutputRoot(tmp_path / "output")


@pytest.fixture
def earlier(root, dataset) -> RecordedRuns:
    """Three runs: "smoke" and "fast", whole, and "broken", which failed in its Transform."""
    runs = RecordedRuns(root.path)
    configs = {"smoke": preset("smoke"), "fast": preset("fast"), "broken": preset("fast", seed=3)}
    for run_id, config in configs.items():
        failed = "Transform" if run_id == "broken" else ""
        settings = Settings.of(config).as_dict()
        runs.add(run_id, changed="" if run_id == "smoke" else "ExampleGen", settings=settings, failed=failed)
        record_data(runs, run_id, dataset)
    return runs


def record_data(runs: RecordedRuns, run_id: str, dataset) -> None:
    context = runs.store.get_context_by_type_and_name("pipeline_run", run_id)
    context.custom_properties["data"].string_value = json.dumps(describe_data(dataset))
    runs.store.put_contexts([context])


def given(root: OutputRoot, *assignments: str, **named: object) -> Settings:
    """The settings of a command line with `--set` and flags."""
    flags = {"output_root": ("--output-root", root.path)} | {
        name: (f"--{name.replace('_', '-')} {value}", value) for name, value in named.items() if name != "preset"
    }
    return resolve(preset=named.get("preset"), flags=flags, assignments=list(assignments), file=None, environ={})


def test_part_without_an_earlier_run_names_the_outputs_that_it_needs(root):
    with pytest.raises(InputError) as raised:
        find_base(given(root), Selection(from_node="SchemaGen", to_node="SchemaGen"), root)
    assert str(raised.value) == (
        f"--only SchemaGen: no earlier run in {root} has the outputs of ExampleGen, StatisticsGen. "
        "Run the whole pipeline first."
    )


@pytest.mark.parametrize("ends", [{"from_node": "Tuner"}, {"to_node": "Tuner"}])
def test_part_that_ends_at_a_node_that_nothing_asks_for_is_refused(root, ends):
    selection = Selection(**ends)
    with pytest.raises(InputError) as raised:
        find_base(given(root), selection, root)
    assert str(raised.value) == f"{selection}: nothing asks for a Tuner. Give --tune as well."


def test_what_is_given_on_top_of_a_searched_run_is_fixed_in_a_new_search(root):
    before = given(root, "tune.enabled=true", "training.epochs=2", preset="smoke")
    after = given(root, "training.shift=2", preset="smoke").on_top_of(before.as_dict(), "1")
    assert (after.config.training.shift, after.config.tune.fixed) == (2, ("epochs", "shift"))
    named = given(root, 'tune.fixed=["erase"]', "training.shift=2").on_top_of(before.as_dict(), "1")
    assert named.config.tune.fixed == ("erase",)


def test_part_between_nodes_in_the_wrong_order_is_refused(root):
    with pytest.raises(InputError, match=r"^--from Pusher --to ExampleGen: no node lies between them\. Swap them"):
        find_base(given(root), Selection(from_node="Pusher", to_node="ExampleGen"), root)


def test_part_from_the_start_needs_no_earlier_run(root, dataset):
    base = find_base(given(root), Selection(to_node="SchemaGen"), root)
    assert base.run_id is None
    pipeline = compiler.Compiler().compile(create_pipeline(preset("smoke", output_root=root.path), dataset))
    mark(pipeline, base)
    taken = [node.pipeline_node.node_info.id for node in pipeline.nodes if not is_skipped(node.pipeline_node)]
    assert taken == ["ExampleGen", "StatisticsGen", "SchemaGen"]


def test_part_takes_settings_and_data_of_the_latest_run_that_has_what_it_needs(earlier, root, dataset):
    base = find_base(given(root), Selection(from_node="Evaluator"), root)
    assert (base.run_id, base.settings.config.preset) == ("fast", "fast")
    assert (base.dataset.digest, base.dataset.class_names) == (dataset.digest, ("0", "1"))
    assert base.settings.origins["training.epochs"] == "run fast"


def test_part_from_the_evaluator_asks_anew_what_the_candidate_is_compared_with(earlier, root, dataset):
    """Since that run another model may have been published, which has to be asked about the test split."""
    base = find_base(given(root), Selection(from_node="Evaluator"), root)
    pipeline = compiler.Compiler().compile(create_pipeline(base.settings.config, dataset))
    mark(pipeline, base)
    runs = {node.pipeline_node.node_info.id for node in pipeline.nodes if not is_skipped(node.pipeline_node)}
    assert runs == {"BlessedModel", "BulkInferrer", "Evaluator", "Pusher"}


def test_named_preset_chooses_the_run_that_it_fits(earlier, root):
    base = find_base(given(root, preset="smoke"), Selection(from_node="Evaluator"), root)
    assert (base.run_id, base.settings.config.training.epochs) == ("smoke", 4)


def test_what_concerns_nodes_that_run_again_may_be_given(earlier, root):
    base = find_base(given(root, "floors.accuracy=0.3"), Selection(from_node="Evaluator"), root)
    assert base.run_id == "fast"
    assert base.settings.config.floors == {"accuracy": 0.3}
    trained = find_base(given(root, "training.seed=7"), Selection(from_node="Trainer"), root)
    assert (trained.settings.config.seed, trained.settings.config.training.seed) == (42, 7)


def test_floor_of_a_class_may_be_given(earlier, root):
    base = find_base(given(root, "floors.accuracy@class=1=0.3"), Selection(from_node="Evaluator"), root)
    assert base.settings.config.floors == {"accuracy@class=1": 0.3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assignment", "selection", "node", "run", "told"),
    [
        ("seed=7", "Trainer", "ExampleGen", "fast", "seed 42"),
        ("image_encoding=png", "Transform", "ExampleGen", "broken", "image_encoding tensor"),
        ("training.epochs=6", "Evaluator", "Trainer", "fast", f"training.epochs {preset('fast').training.epochs}"),
        ("gate_severity=warning", "Trainer", "DataGate", "fast", "gate_severity error"),
    ],
)
def test_what_contradicts_a_node_that_is_not_run_again_is_one_line(
    earlier, root, assignment, selection, node, run, told
):
    with pytest.raises(InputError) as raised:
        find_base(given(root, assignment), Selection(from_node=selection), root)
    assert str(raised.value) == (
        f"--set {assignment}: {node} is not run again, and run {run}, which this stands on, has {told}. Leave it "
        f"out, or begin with --from {node}."
    )


def test_other_data_than_the_run_read_are_refused(earlier, root, dataset, idx_folder):
    images, labels = np.ones((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    other = idx_folder(images, labels, images, labels, name="other")
    with pytest.raises(InputError, match=r"^--data-dir .*other: run fast, which this stands on, read other data \("):
        find_base(given(root, data_dir=other), Selection(from_node="Trainer"), root)
    same = find_base(given(root, data_dir=dataset.folder), Selection(from_node="Trainer"), root)
    assert same.run_id == "fast"


def of_spans(runs: RecordedRuns, dataset, root: OutputRoot) -> None:
    """Makes the runs those of a span that came by `in-{SPAN}`."""
    span = Span(name="1", number=1, pattern=str(root.path / "in-{SPAN}"))
    for run_id in ("smoke", "fast", "broken"):
        record_data(runs, run_id, dataclasses.replace(dataset, span=span))


def test_spans_of_another_pattern_than_that_of_the_run_are_refused(earlier, root, dataset):
    of_spans(earlier, dataset, root)
    same = given(root, data_dir=root.path / "in-{SPAN}")
    other = given(root, data_dir=root.path / "out" / "on-{SPAN}")
    first = Selection(from_node="StatisticsGen", to_node="SchemaGen")
    assert find_base(same, first, root).run_id == "broken"
    with pytest.raises(InputError, match=r"^--data-dir .*on-\{SPAN\}: run broken, .*, read other data \("):
        find_base(other, first, root)


def test_run_of_another_data_set_is_refused_by_its_name(earlier, root):
    with pytest.raises(InputError, match=r"^--name other: run fast, which this stands on, is of the data set data\."):
        find_base(given(root, name="other"), Selection(from_node="Trainer"), root)


def test_dry_run_without_an_earlier_run_makes_nothing(root, dataset):
    settings = Settings.of(preset("smoke", output_root=root.path))
    forecasts = foresee(settings, dataset, {"settings": {}, "git": None})
    assert {forecast.id: forecast.state for forecast in forecasts} == dict.fromkeys(
        [node.id for node in NODES.values() if not node.flag], "would run"
    )
    assert forecasts[0].reason == "no earlier run of it on data.smoke succeeded here"
    assert not root.path.exists()


def test_dry_run_on_a_database_that_is_none_is_refused(root, dataset):
    root.path.mkdir()
    root.metadata.write_bytes(b"precious" * 1000)
    settings = Settings.of(preset("smoke", output_root=root.path))
    with pytest.raises(InputError, match="expected a database of ML Metadata, found something else"):
        foresee(settings, dataset, {})
    assert root.metadata.read_bytes() == b"precious" * 1000


def test_cache_key_of_no_node_holds_a_path(dataset, tmp_path):
    """The same data in another folder, for another output root, gives each node the same properties."""
    sides = []
    for name in ("one", "two"):
        folder = tmp_path / name
        moved = dataclasses.replace(dataset, folder=folder)
        pipeline = create_pipeline(preset("smoke", output_root=folder), moved)
        sides.append({node.id: json.dumps(node.exec_properties, default=str) for node in pipeline.components})
        assert str(tmp_path) not in json.dumps(sides[-1])
    assert sides[0] == sides[1]


def test_precision_is_resolved_before_the_cache_key(dataset, tmp_path, monkeypatch):
    told = []
    for flags in ("avx512_bf16", "sse"):
        (tmp_path / "cpuinfo").write_text(flags)
        monkeypatch.setattr("models.precision.training_policy.__defaults__", (tmp_path / "cpuinfo",))
        monkeypatch.setattr("models.precision.resolve_precision.__defaults__", (tmp_path / "cpuinfo",))
        pipeline = create_pipeline(preset("smoke", output_root=tmp_path), dataset)
        (trainer,) = [node for node in pipeline.components if node.id == "Trainer"]
        told.append(json.loads(trainer.exec_properties["custom_config"])["training"]["precision"])
    assert told == ["bfloat16", "float32"]
