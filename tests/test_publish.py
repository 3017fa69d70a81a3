"""A blessed model published later, by its run or its version; and what ML Metadata knows of it."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.recorded_runs import RecordedRuns
from components.pusher.history import versions
from components.pusher.serving_folder import publish as push
from components.pusher.serving_folder import rollback
from models.card import CARD_FILE, write_card
from pipeline.metadata.cli import main as ask
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.publish import main
from pipeline.rollback import main as rollback_command
from pipeline.run.publications import record_in

FIRST, SECOND, REFUSED = (f"2026010{day}-120000-000" for day in (1, 2, 3))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> RecordedRuns:
    """Two blessed runs and a refused one; the models' files are where the Exporter leaves them."""
    runs = RecordedRuns(tmp_path_factory.mktemp("runs") / "output")
    runs.add(FIRST, accuracy=0.91)
    runs.add(SECOND, changed="Trainer", settings={"seed": 7}, accuracy=0.92)
    runs.add(REFUSED, changed="Trainer", settings={"seed": 8}, accuracy=0.5, blessed=False)
    return runs


@pytest.fixture
def runs(recorded, tmp_path) -> RecordedRuns:
    """A copy of them, in which nothing is served yet."""
    own = recorded.copy_to(tmp_path / "output")
    shutil.rmtree(own.output_root / "serving")
    for run in (FIRST, SECOND, REFUSED):
        card = exported(own, run) / CARD_FILE
        card.parent.mkdir(parents=True)
        (artifact,) = recorded.store.get_artifacts_by_id([recorded.artifacts[run]["Exporter.model"]])
        card.write_text(json.dumps({"digest": artifact.custom_properties["digest"].string_value}))
    return own


@pytest.fixture
def output(runs) -> Path:
    return runs.output_root


def exported(runs: RecordedRuns, run: str) -> Path:
    """The SavedModel that a run exported."""
    uri = Store(runs.output_root / "metadata.db").artifacts[runs.artifacts[run]["Exporter.model"]].uri
    return Path(uri, "Format-Serving")


def base_of(output: Path) -> Path:
    return output / "serving" / "fashion_mnist"


def test_held_back_model_is_published_by_its_run_and_a_version_by_its_number(output, capsys):
    assert main([FIRST, "--output-root", str(output)]) == 0
    (one,) = versions(base_of(output))
    assert capsys.readouterr().out == (f"the model of run {FIRST} is pushed, as {base_of(output) / str(one)}\n")
    assert main([SECOND[:8], "--output-root", str(output)]) == 0
    two = max(versions(base_of(output)))
    rollback(base_of(output))
    assert main([str(two), "--output-root", str(output)]) == 0
    assert f"version {two} is served again, as" in capsys.readouterr().out
    assert list(versions(base_of(output)).values()) == [one, two, one, two]
    assert main([SECOND, "--output-root", str(output)]) == 0
    assert "is served already, as" in capsys.readouterr().out


def test_monitoring_knows_at_once_of_what_is_published_and_rolled_back(output, capsys):
    def served_since() -> str:
        name = 'image_pipeline_served_since_timestamp_seconds{model="fashion_mnist"} '
        (line,) = [line for line in OutputRoot(output).metrics.read_text().splitlines() if line.startswith(name)]
        return line.removeprefix(name)

    for run in (FIRST, SECOND):
        assert main([run, "--output-root", str(output)]) == 0
        assert float(served_since()) == max(versions(base_of(output)))
    assert rollback_command(["--output-root", str(output)]) == 0
    assert float(served_since()) == max(versions(base_of(output)))
    assert len(versions(base_of(output))) == 3
    assert capsys.readouterr().err == ""


def test_page_of_all_runs_knows_at_once_of_what_is_published_and_rolled_back(output, capsys):
    for run in (FIRST, SECOND):
        assert main([run, "--output-root", str(output)]) == 0
        assert f'The model of run <a href="#r{run}">{run}</a> is served as' in OutputRoot(output).index.read_text()
    assert rollback_command(["--output-root", str(output)]) == 0
    assert f"{FIRST}</a> is served again, by a rollback, as" in OutputRoot(output).index.read_text()
    assert capsys.readouterr().err == ""


def test_published_model_leads_to_its_training_and_the_rollback_is_known_too(output, capsys):
    assert main([SECOND, "--output-root", str(output)]) == 0
    (two,) = versions(base_of(output))
    capsys.readouterr()
    assert ask(["lineage", str(two), "--output-root", str(output)]) == 0
    told = capsys.readouterr().out
    assert "Publish, outside of a run" in told
    assert f"Trainer, ran in run {SECOND}" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            REFUSED,
            f"run {REFUSED}: expected a model that the Evaluator blessed, found that it refused it.",
        ),
        ("nowhere", "run nowhere: expected a run of"),
    ],
)
def test_what_was_not_blessed_or_is_not_there_is_refused_in_a_line(output, capsys, name, told):
    assert main([name, "--output-root", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"publish: {told}")
    assert captured.err.count("\n") == 1
    assert not versions(base_of(output))


def test_run_that_ended_at_the_gate_has_no_model_to_publish(tmp_path, capsys):
    output = tmp_path / "output"
    runs = RecordedRuns(output, in_spans=True)
    runs.add(FIRST, span=1)
    runs.add(SECOND, changed="ExampleGen", span=2, failed="DataGate")
    before = versions(base_of(output))
    assert main([SECOND, "--output-root", str(output)]) == 2
    told = f"publish: run {SECOND}: expected a model, found none. Name another run; 'runs' lists them.\n"
    assert capsys.readouterr().err == told
    assert versions(base_of(output)) == before


@pytest.mark.parametrize("in_spans", [True, False])
def test_model_that_knows_a_further_class_is_published_over_the_served_one_where_it_is_of_spans(
    tmp_path, capsys, in_spans
):
    runs = RecordedRuns(tmp_path / "output", in_spans=in_spans)
    runs.add(FIRST, span=1)
    runs.add(SECOND, changed="ExampleGen", span=2)
    shutil.rmtree(runs.output_root / "serving")
    for run, classes in ((FIRST, ["ant", "bee"]), (SECOND, ["ant", "bee", "cat"])):
        write_card(exported(runs, run), (28, 28), tuple(classes), content=run)
    assert main([FIRST, "--output-root", str(runs.output_root)]) == 0
    capsys.readouterr()
    before = versions(base_of(runs.output_root))
    status = main([SECOND, "--output-root", str(runs.output_root)])
    told = capsys.readouterr()
    if in_spans:
        assert (status, told.err) == (0, "")
        assert told.out.startswith(f"the model of run {SECOND} is pushed, as")
    else:
        assert status == 2
        assert "the classes ant, bee; this model about ant, bee, cat. Run the pipeline on the data set" in told.err
        assert versions(base_of(runs.output_root)) == before


def test_model_whose_files_are_gone_cannot_be_published(output, capsys):
    shutil.rmtree(output / "artifacts" / "Exporter")
    assert main([FIRST, "--output-root", str(output)]) == 2
    assert "the files of run" in capsys.readouterr().err


def test_nothing_is_published_while_a_run_goes_on(output, capsys):
    with OutputRoot(output).lock(""):
        assert main([FIRST, "--output-root", str(output)]) == 75
    assert "another run is using it. Wait for its end, then publish." in capsys.readouterr().err


def test_push_that_was_killed_before_ml_metadata_knew_of_it_is_recorded_by_the_next_writer(runs, output):
    version = push(exported(runs, SECOND), base_of(output), keep=3)
    root = OutputRoot(output)
    assert record_in(root) == ""
    assert record_in(root) == ""
    place = str(base_of(output).resolve() / str(version))
    store = Store(root.metadata)
    (found,) = [number for number, artifact in store.artifacts.items() if artifact.uri == place]
    kept = store.properties("Artifact", found)
    assert (kept["model_id"], kept["pushed"]) == (runs.artifacts[SECOND]["Exporter.model"], 1)
