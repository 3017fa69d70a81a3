"""The answers of `python -m pipeline.metadata`, on a database that ML Metadata wrote; oracles by hand.

The runs: `first` ran everything; `cached` nothing; `seeded` the Trainer and what follows it, with another seed;
`refused` the same with another network, whose model was not blessed; `broken` failed in its Transform.
"""

import contextlib
import dataclasses
import fcntl
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.recorded_runs import RecordedRuns
from components.errors import InputError
from components.latest_blessed import CANDIDATE
from pipeline.metadata import runs as listing
from pipeline.metadata import show
from pipeline.metadata.cli import main
from pipeline.metadata.drawing import as_tree
from pipeline.metadata.lineage import Edge, Lineage
from pipeline.metadata.store import CANDIDATE as CANDIDATE_OF_STORE
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.run.dry_run import _copy_database

FIRST, CACHED, SEEDED, REFUSED, BROKEN = (f"2026010{day}-120000-000" for day in range(1, 6))
FROM_TRAINER = {"Trainer", "Exporter", "InfraValidator", "Evaluator", "BulkInferrer", "Pusher"}


def record(output: Path) -> RecordedRuns:
    runs = RecordedRuns(output)
    runs.add(FIRST, accuracy=0.91)
    runs.add(CACHED, accuracy=0.91)
    runs.add(SEEDED, changed="Trainer", settings={"seed": 7}, accuracy=0.92)
    runs.add(
        REFUSED,
        changed="Trainer",
        settings={"seed": 7},
        modules={"models.networks.residual": "bb"},
        accuracy=0.5,
        blessed=False,
    )
    runs.add(BROKEN, changed="Transform", settings={"seed": 7}, failed="Transform")
    return runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> RecordedRuns:
    return record(tmp_path_factory.mktemp("runs") / "output")


@pytest.fixture
def own_runs(runs, tmp_path) -> RecordedRuns:
    """The same in a folder that a test may change: copied, for ML Metadata takes seconds to write them."""
    return runs.copy_to(tmp_path / "output")


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> RecordedRuns:
    """Three spans, of which the last was refused, each taken up by a run that begins with the model that is served."""
    runs = RecordedRuns(tmp_path_factory.mktemp("nights") / "output", in_spans=True, warm_start=True)
    runs.add(FIRST, accuracy=0.91, span=1)
    runs.add(SEEDED, changed="ExampleGen", accuracy=0.92, span=2)
    runs.add(BROKEN, changed="ExampleGen", span=3, failed="DataGate")
    return runs


@pytest.fixture
def ask(runs, capsys):
    """Runs a command and returns its lines; a failure is an assertion."""

    def call(*words: str, output: Path = runs.output_root) -> list[str]:
        assert main([*words, "--output-root", str(output)]) == 0, capsys.readouterr().err
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def ask_json(ask):
    return lambda *words, **options: json.loads("\n".join(ask(*words, "--json", **options)))


@pytest.fixture
def refusal(runs, capsys):
    """Runs a command that cannot be answered and returns its one line."""

    def call(*words: str, output: Path = runs.output_root, status: int = 2) -> str:
        assert main([*words, "--output-root", str(output)]) == status
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        return line

    return call


def test_runs_lists_the_latest_first_with_what_came_of_it(ask_json):
    listed = {run["id"]: run for run in ask_json("runs")}
    assert list(listed) == [BROKEN, REFUSED, SEEDED, CACHED, FIRST]
    assert [run["state"] for run in listed.values()] == ["failed", "not blessed", "done", "done", "done"]
    assert [run["accuracy"] for run in listed.values()] == [None, 0.5, 0.92, 0.91, 0.91]
    assert [run["blessed"] for run in listed.values()] == [None, False, True, True, True]
    assert [run["seed"] for run in listed.values()] == [7, 7, 7, 1, 1]
    assert listed[REFUSED]["pushed"] is None
    assert listed[FIRST]["pushed"] == listed[CACHED]["pushed"] != listed[SEEDED]["pushed"]


def test_table_has_a_column_for_searches_where_there_was_one():
    nothing = dict.fromkeys(
        ("started", "name", "preset", "seed", "state", "seconds", "accuracy", "blessed", "pushed", "standing", "note")
    )
    run = nothing | {"id": "one", "tags": [], "trials": 20, "best_trial": 0.944}
    told = listing.render([run, run | {"id": "two", "trials": None, "best_trial": None}]).splitlines()
    assert told[0].endswith("search")
    assert told[1].endswith("best of 20: 0.9440 of val")
    assert told[2].endswith("-")
    assert "search" not in listing.render([run | {"trials": None}])


def test_trials_are_listed_the_best_first_with_what_was_varied():
    trial = {"values": {"shift": 1, "erase": 0}, "curve": [0.8, 0.9], "stopped": False, "seconds": 4.0}
    trials = [
        trial | {"trial": "0", "val_accuracy": 0.9},
        trial | {"trial": "1", "val_accuracy": 0.95, "values": {"shift": 2, "erase": 0}},
        trial | {"trial": "2", "val_accuracy": 0.7, "stopped": True, "curve": [0.7]},
    ]
    header, *rows = show.render({"trials": trials}).splitlines()
    assert header.split() == ["trial", "shift", "val.", "accuracy", "epochs", "ended", "time"]
    told = [" ".join(row.split()[:4]) for row in rows]
    assert told == ["1 2 0.9500 2", "0 1 0.9000 2", "2 1 0.7000 1"]
    assert "given up" in rows[2]


def test_table_of_runs_is_aligned(ask):
    header, *rows = ask("runs")
    assert header.split() == [
        "run",
        "started",
        "data",
        "preset",
        "seed",
        "state",
        "time",
        "accuracy",
        "blessed",
        "pushed",
        "standing",
    ]
    assert rows[2][header.index("accuracy") :].split()[:2] == ["0.9200", "yes"]
    assert rows[2][header.index("state") :].startswith("done")


def test_runs_and_show_mark_the_champion_and_where_the_others_stand(own_runs, ask_json, ask):
    output = own_runs.output_root
    base = output / "serving" / "fashion_mnist"

    def standings() -> dict[str, str | None]:
        return {run["id"]: run["standing"] for run in ask_json("runs", output=output)}

    assert standings() == {BROKEN: None, REFUSED: None, SEEDED: "champion", CACHED: "former", FIRST: "former"}
    one, two = sorted(int(path.name) for path in base.iterdir())
    (base / str(two + 1)).symlink_to(str(one))
    assert standings() == {BROKEN: None, REFUSED: None, SEEDED: "taken back", CACHED: "champion", FIRST: "champion"}
    assert ask_json("show", SEEDED, output=output)["run"]["standing"] == "taken back"
    # Blessed and in no serving folder: as after --no-push.
    shutil.rmtree(base / str(two))
    assert standings()[SEEDED] == "challenger"
    assert next(line for line in ask("runs", output=output) if "challenger" in line).startswith(SEEDED)


def test_run_of_another_runner_that_kept_no_record_is_listed_with_what_is_known(tmp_path, ask_json):
    runs = RecordedRuns(tmp_path / "output")
    runs.add(FIRST, record=False)
    (first,) = ask_json("runs", output=runs.output_root)
    assert (first["id"], first["state"], first["accuracy"], first["seed"]) == (FIRST, None, None, None)
    assert ask_json("show", FIRST, output=runs.output_root)["code"] is None


def test_run_that_was_killed_is_told_as_interrupted_while_nobody_has_the_lock(own_runs, ask_json):
    with contextlib.closing(sqlite3.connect(own_runs.output_root / "metadata.db")) as connection:
        connection.execute("UPDATE ContextProperty SET string_value = 'running' WHERE string_value = 'failed'")
        # 2 is RUNNING, 4 FAILED.
        connection.execute("UPDATE Execution SET last_known_state = 2 WHERE last_known_state = 4")
        connection.commit()
    assert ask_json("runs", output=own_runs.output_root)[0]["state"] == "interrupted"
    nodes = [node["state"] for node in ask_json("show", "latest", output=own_runs.output_root)["executions"]]
    assert "interrupted" in nodes
    assert "running" not in nodes
    with (own_runs.output_root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ask_json("runs", output=own_runs.output_root)[0]["state"] == "running"


def test_show_run_tells_settings_and_every_execution(ask_json, runs):
    shown = ask_json("show", SEEDED[:8])
    assert shown["properties"]["settings"]["seed"] == 7
    states = {execution["node"]: execution["state"] for execution in shown["executions"]}
    assert {node for node, state in states.items() if state == "ran"} == FROM_TRAINER | {"AcceptedData", "BlessedModel"}
    assert states["Transform"] == "cached"
    (trainer,) = [execution for execution in shown["executions"] if execution["node"] == "Trainer"]
    assert [output["artifact"] for output in trainer["outputs"]] == [
        f"a{runs.artifacts[SEEDED][key]}" for key in ("Trainer.model", "Trainer.model_run")
    ]


def test_show_artifact_tells_its_size_maker_and_readers(ask_json, runs):
    number = runs.artifacts[FIRST]["Exporter.model"]
    shown = ask_json("show", f"a{number}")
    assert shown["type"] == "Model"
    assert shown["bytes"] == 10
    assert shown["producer"] == f"e{runs.executions[FIRST]['Exporter']} Exporter"
    readers = {reader.split()[1] for reader in shown["consumers"]}
    assert readers == {"InfraValidator", "Evaluator", "BulkInferrer", "Pusher"}
    assert ask_json("show", shown["uri"]) == shown


def test_show_execution_tells_inputs_outputs_and_properties(ask, ask_json, runs):
    name = f"e{runs.executions[SEEDED]['Trainer']}"
    shown = ask_json("show", name)
    assert [event["key"] for event in shown["inputs"]] == ["examples", "transform_graph"]
    assert [event["key"] for event in shown["outputs"]] == ["model", "model_run"]
    assert json.loads(shown["properties"]["custom_config"]) == {"seed": 7}
    assert any(line.split() == ["state", "ran"] for line in ask("show", name))


def test_property_that_tfx_keeps_as_a_structure_is_taken_apart(own_runs, ask_json):
    """The encoding is that of an ExampleAnomalies artifact of a real run."""
    encoded = "mlmd-struct::ChEKBHRlc3QSCREAAAAAAADwPwoQCgN2YWwSCREAAAAAAADwPwoSCgV0cmFpbhIJEQAAAAAAAPA/"
    number = own_runs.artifacts[FIRST]["ExampleValidator.anomalies"]
    with contextlib.closing(sqlite3.connect(own_runs.output_root / "metadata.db")) as connection:
        connection.execute(
            "INSERT INTO ArtifactProperty (artifact_id, name, is_custom_property, string_value) VALUES (?, ?, 1, ?)",
            (number, "blessed", encoded),
        )
        connection.commit()
    shown = ask_json("show", f"a{number}", output=own_runs.output_root)
    assert shown["properties"]["blessed"] == {"train": 1.0, "val": 1.0, "test": 1.0}


def test_show_run_tells_sizes_and_every_package(ask, ask_json):
    shown = ask_json("show", FIRST)
    assert shown["packages"] == {"tfx": "1.21.0"}
    # Each of 15 once, and the two that the resolvers chose for with these.
    assert sum(output["bytes"] for execution in shown["executions"] for output in execution["outputs"]) == 10 * 17
    lines = ask("show", FIRST)
    assert "packages   1, all of them with --json" in lines
    (header,) = [line for line in lines if line.startswith("id ") and "node" in line]
    assert header.split() == ["id", "node", "state", "time", "size", "outputs"]
    assert any(line.split()[1:] == ["ExampleGen", "ran", "0.0", "s", "10", "B", "examples=a1"] for line in lines)


def test_diff_shows_what_differs_and_only_that(ask_json):
    rows = ask_json("diff", FIRST, REFUSED)["differences"]
    found = {(row["aspect"], row["name"]): (row["first"], row["second"]) for row in rows}
    assert found[("settings", "seed")] == (1, 7)
    assert found[("code", "models.networks.residual")] == ("aa", "bb")
    assert found[("metrics", "test_accuracy")] == (0.91, 0.5)
    assert found[("result", "state")] == ("done", "not blessed")
    assert not [key for key in found if key[0] in ("data", "git", "packages", "machine")]
    everything = ask_json("diff", FIRST, REFUSED, "--all")["differences"]
    assert {"aspect": "data", "name": "digest", "first": "d1", "second": "d1"} in everything
    assert len(everything) > len(rows)


def test_diff_of_equal_runs_says_so(ask):
    assert ask("diff", FIRST, CACHED) == [f"{FIRST} and {CACHED}: no difference"]


def test_why_names_the_changed_setting(ask):
    assert ask("why", "Trainer", SEEDED) == [
        f"Trainer ran in run {SEEDED} (compared with run {CACHED})",
        "  setting custom_config.seed: 1 -> 7",
    ]


def test_why_names_the_changed_source_file(ask):
    assert ask("why", "Trainer", REFUSED) == [
        f"Trainer ran in run {REFUSED} (compared with run {SEEDED})",
        "  code: models/networks/residual.py changed",
    ]


def test_why_follows_a_changed_input_to_what_changed_it(ask, runs):
    before, after = (runs.artifacts[run]["Exporter.model"] for run in (SEEDED, REFUSED))
    lines = ask("why", "InfraValidator", REFUSED)
    assert f"  input model: a{before} -> a{after}, made by Exporter in this run" in lines
    assert lines[-2:] == [
        f"    Trainer ran in run {REFUSED} (compared with run {SEEDED})",
        "      code: models/networks/residual.py changed",
    ]


def test_why_tells_each_node_once_however_many_paths_lead_to_it(tmp_path, ask):
    runs = RecordedRuns(tmp_path / "output")
    runs.add(FIRST)
    runs.add(SEEDED, changed="ExampleGen", settings={"seed": 7})
    told = [line.split()[0] for line in ask("why", "Pusher", output=runs.output_root) if " ran in run " in line]
    assert sorted(told) == sorted({"ExampleGen", "StatisticsGen", "Transform"} | FROM_TRAINER)


def test_why_of_a_cached_node_names_the_run_it_came_from(ask, runs):
    source = runs.executions[FIRST]["Transform"]
    assert ask("why", "Transform", SEEDED) == [
        f"Transform cached in run {SEEDED} (compared with run {FIRST})",
        f"  inputs, settings and code are those of e{source} of run {FIRST}",
    ]


def test_why_of_the_first_run_and_of_what_was_not_reached(ask, ask_json):
    assert ask("why", "Trainer", FIRST)[1] == "  no earlier run of it on fashion_mnist succeeded here"
    assert ask("why", "Trainer")[1] == "  not reached: Transform failed"
    assert ask("why", "Tuner")[1] == "  not asked for: --tune does"
    assert ask_json("why", "Trainer")["state"] == "skipped"


def test_why_of_a_resolver_tells_what_it_chose(ask, runs):
    chosen = runs.artifacts[FIRST]["Exporter.model"]
    assert ask("why", "BlessedModel", SEEDED)[1:] == [f"  chose a{chosen}, before none"]
    assert ask("why", "BlessedModel", CACHED)[1:] == ["  chose none, as before"]
    assert ask("why", "BlessedModel", REFUSED)[1:] == [
        f"  chose a{runs.artifacts[SEEDED]['Exporter.model']}, before a{chosen}"
    ]


def test_why_of_a_resolver_of_spans_or_of_a_beginning_tells_each_thing_that_it_chose(nights, ask):
    def chose(node: str, run: str) -> list[str]:
        return [line.strip() for line in ask("why", node, run, output=nights.output_root)[1:]]

    (x, s), (y, t) = (
        [f"a{nights.artifacts[run][key]}" for key in ("ExampleGen.examples", "StatisticsGen.statistics")]
        for run in (FIRST, SEEDED)
    )
    assert chose("Spans", SEEDED) == [f"chose examples {x}, {y}, before {x}", f"chose statistics {s}, {t}, before {s}"]
    assert chose("WarmStart", SEEDED) == [f"chose model a{nights.artifacts[FIRST]['Trainer.model']}, before none"]
    served = [f"a{nights.artifacts[run]['Exporter.model']}" for run in (FIRST, SEEDED)]
    passed = [f"a{nights.artifacts[run]['DataGate.blessing']}" for run in (FIRST, SEEDED)]
    assert chose("AcceptedData", SEEDED) == [
        f"chose blessing {passed[0]}, before none",
        f"chose model {served[0]}, before none",
    ]
    assert chose("AcceptedData", BROKEN) == [
        f"chose blessing {', '.join(passed)}, before {passed[0]}",
        f"chose model {served[1]}, before {served[0]}",
    ]


def test_why_of_a_resolver_that_chose_the_same_for_another_tells_it_as_before(tmp_path, ask):
    runs = RecordedRuns(tmp_path / "output", in_spans=True, warm_start=True)
    runs.add(FIRST, span=1)
    runs.add(SEEDED, changed="ExampleGen", span=2, blessed=False)
    runs.add(REFUSED, changed="Trainer", settings={"seed": 7}, blessed=False)
    trained, exported = (runs.artifacts[FIRST][f"{node}.model"] for node in ("Trainer", "Exporter"))
    of = [f"a{runs.artifacts[run]['ExampleGen.examples']}" for run in (FIRST, SEEDED)]
    statistics = [f"a{runs.artifacts[run]['StatisticsGen.statistics']}" for run in (FIRST, SEEDED)]
    told = f"  chose examples {', '.join(of)}, statistics {', '.join(statistics)}, as before"
    assert ask("why", "Spans", REFUSED, output=runs.output_root)[1:] == [told]
    assert ask("why", "WarmStart", REFUSED, output=runs.output_root)[1:] == [f"  chose model a{trained}, as before"]
    passed = f"blessing a{runs.artifacts[FIRST]['DataGate.blessing']}"
    told = f"  chose {passed}, model a{exported}, as before"
    assert ask("why", "AcceptedData", REFUSED, output=runs.output_root)[1:] == [told]


def test_store_knows_what_a_resolver_chose_for_by_the_name_that_resolvers_give_it():
    assert CANDIDATE_OF_STORE == CANDIDATE


def test_why_tells_a_changed_package_and_a_cache_that_was_off(tmp_path, ask):
    runs = RecordedRuns(tmp_path / "output")
    runs.add(FIRST, modules={"models.networks.residual": "aa"}, packages={"numpy": "2.0"})
    runs.add(CACHED, changed="Trainer", modules={"models.networks.residual": "cc"}, packages={"numpy": "2.1"})
    runs.add(SEEDED, changed="Trainer", modules={"models.networks.residual": "cc"}, packages={"numpy": "2.1"})
    assert ask("why", "Trainer", CACHED, output=runs.output_root)[1:] == [
        "  code: models/networks/residual.py changed",
        "  package numpy: 2.0 -> 2.1",
    ]
    assert ask("why", "Trainer", SEEDED, output=runs.output_root)[1:] == [
        "  nothing that ML Metadata keeps of it changed"
    ]
    shutil.rmtree(tmp_path / "output" / "artifacts" / "Trainer")
    assert "is gone" in ask("why", "Trainer", SEEDED, output=runs.output_root)[1]


def test_lineage_of_a_served_model_leads_to_data_code_and_settings(ask_json, runs):
    version = next(run["pushed"] for run in ask_json("runs") if run["id"] == SEEDED)
    graph = ask_json("lineage", version)
    keys = (
        "Pusher.pushed_model",
        "Exporter.model",
        "Trainer.model",
        "Evaluator.blessing",
        "BulkInferrer.predictions",
        "InfraValidator.blessing",
        "Transform.transform_graph",
        "StatisticsGen.statistics",
        "ExampleGen.examples",
    )
    wanted = {f"a{runs.artifacts[SEEDED][key]}" for key in keys}
    assert wanted <= {artifact["id"] for artifact in graph["artifacts"]}
    nodes = {execution["node"]: execution for execution in graph["executions"]}
    assert set(nodes) == {
        *("Pusher", "Exporter", "Trainer", "InfraValidator", "BulkInferrer", "Evaluator"),
        *("Transform", "StatisticsGen", "ExampleGen"),
    }
    assert nodes["Trainer"]["run"] == SEEDED
    assert nodes["Transform"]["run"] == FIRST
    assert graph["runs"][SEEDED]["settings"]["seed"] == 7
    (examples,) = [artifact for artifact in graph["artifacts"] if artifact["type"] == "Examples"]
    assert examples["properties"]["digest"] == f"digest of {FIRST}"


def test_baseline_is_shown_and_not_followed(ask_json, runs):
    graph = ask_json("lineage", SEEDED)
    baseline = f"a{runs.artifacts[FIRST]['Exporter.model']}"
    (edge,) = [edge for edge in graph["edges"] if edge["from"] == baseline]
    assert (edge["key"], edge["compared"]) == ("baseline_model", True)
    assert f"e{runs.executions[FIRST]['Exporter']}" not in {execution["id"] for execution in graph["executions"]}


def test_lineage_down_leads_from_a_data_set_to_every_model(ask_json, runs):
    graph = ask_json("lineage", f"a{runs.artifacts[FIRST]['ExampleGen.examples']}", "--down")
    models = {artifact["id"] for artifact in graph["artifacts"] if artifact["type"] == "Model"}
    keys = ("Trainer.model", "Exporter.model")
    assert models == {f"a{runs.artifacts[run][key]}" for run in (FIRST, SEEDED, REFUSED) for key in keys}


def test_lineage_of_a_model_of_spans_leads_to_the_data_of_each_and_to_what_its_training_began_with(nights, ask_json):
    graph = ask_json("lineage", SEEDED, output=nights.output_root)
    made = {(execution["node"], execution["run"]) for execution in graph["executions"]}
    assert {("ExampleGen", FIRST), ("ExampleGen", SEEDED), ("Trainer", FIRST), ("Trainer", SEEDED)} <= made
    assert not any(edge["compared"] for edge in graph["edges"] if edge["key"] in ("spans", "span_statistics"))
    (begun,) = [edge for edge in graph["edges"] if edge["key"] == "base_model"]
    assert (begun["from"], begun["compared"]) == (f"a{nights.artifacts[FIRST]['Trainer.model']}", False)
    # The model that its answers were compared with, from which no training began, is still not followed.
    assert ("Exporter", FIRST) not in made
    assert {edge["key"] for edge in graph["edges"] if edge["compared"]} == {"baseline_model"}


def test_lineage_down_leads_from_a_span_to_every_model_of_a_window_with_it(nights, ask_json):
    first = f"a{nights.artifacts[FIRST]['ExampleGen.examples']}"
    graph = ask_json("lineage", first, "--down", output=nights.output_root)
    models = {artifact["id"] for artifact in graph["artifacts"] if artifact["type"] == "Model"}
    keys = ("Trainer.model", "Exporter.model")
    assert models == {f"a{nights.artifacts[run][key]}" for run in (FIRST, SEEDED) for key in keys}
    readers = {edge["key"] for edge in graph["edges"] if edge["from"] == first}
    assert readers == {"examples", "spans"}


def test_what_the_gate_compares_a_span_with_is_shown_and_not_followed(nights, ask_json):
    blessing = f"a{nights.artifacts[SEEDED]['DataGate.blessing']}"
    graph = ask_json("lineage", blessing, output=nights.output_root)
    compared = {(edge["key"], edge["from"]) for edge in graph["edges"] if edge["compared"]}
    artifacts = nights.artifacts[FIRST]
    assert compared == {
        ("earlier", f"a{artifacts['DataGate.blessing']}"),
        ("served_model", f"a{artifacts['Exporter.model']}"),
    }
    assert {execution["run"] for execution in graph["executions"]} == {SEEDED}


def test_model_of_a_run_that_the_gate_asks_in_it_as_well_is_followed_to_its_data(tmp_path, ask_json):
    runs = RecordedRuns(tmp_path / "output", in_spans=True)
    runs.add(FIRST, span=1)
    runs.add(SEEDED, changed="Evaluator")
    graph = ask_json("lineage", f"a{runs.artifacts[SEEDED]['Evaluator.evaluation']}", output=runs.output_root)
    assert ("ExampleGen", FIRST) in {(execution["node"], execution["run"]) for execution in graph["executions"]}


def test_tree_of_trainings_that_each_began_with_the_one_before_is_drawn_however_many(nights, monkeypatch):
    store = Store(nights.output_root / "metadata.db")
    count = sys.getrecursionlimit()
    (trainer,) = [found for found in store.executions.values() if (found.node, found.run) == ("Trainer", FIRST)]
    model = store.artifacts[nights.artifacts[FIRST]["Trainer.model"]]
    executions = {n: dataclasses.replace(trainer, id=n) for n in range(1, count + 1)}
    monkeypatch.setattr(store, "executions", executions)
    monkeypatch.setattr(store, "artifacts", {n: dataclasses.replace(model, id=n) for n in range(1, count + 2)})
    edges = []
    for n in range(count, 0, -1):
        edges.append(Edge(artifact=n + 1, execution=n, key="model", is_input=False))
        edges.append(Edge(artifact=n, execution=n, key="base_model", is_input=True))
    lines = as_tree(store, Lineage(root=count + 1, down=False, edges=edges)).splitlines()
    drawn = [line.split(" Trainer,")[0].rsplit(" ", 1)[-1] for line in lines if " Trainer," in line]
    assert drawn == [f"e{n}" for n in range(count, 0, -1)]


def test_tree_follows_each_execution_once(ask, runs):
    lines = ask("lineage", SEEDED)
    trainer = f"e{runs.executions[SEEDED]['Trainer']} Trainer, ran in run {SEEDED}"
    assert lines[0].startswith(f"a{runs.artifacts[SEEDED]['Pusher.pushed_model']} PushedModel, pushed_version ")
    assert sum(trainer in line for line in lines) == 1
    assert any(line.strip("│ ") == "custom_config.seed = 7" for line in lines)
    assert "  settings.seed = 7" in lines
    down = ask("lineage", f"a{runs.artifacts[FIRST]['ExampleGen.examples']}", "--down")
    assert sum(trainer in line and "(above)" not in line for line in down) == 1


def test_every_format_has_the_same_arrows(ask, ask_json, runs):
    name = f"a{runs.artifacts[FIRST]['Exporter.model']}"
    arrows = {(edge["from"], edge["to"]) for edge in ask_json("lineage", name)["edges"]}
    dot = ask("lineage", name, "--up", "--format", "dot")
    assert {(line.split()[0], line.split()[2]) for line in dot if " -> " in line} == arrows
    mermaid = [line.split() for line in ask("lineage", name, "--format", "mermaid") if "-->" in line]
    assert {(words[0], words[2]) for words in mermaid} == arrows
    assert json.loads("\n".join(ask("lineage", name, "--format", "json"))) == ask_json("lineage", name)
    assert dot[0] == "digraph lineage {"
    assert dot[-1] == "}"


def test_gc_lists_what_is_superseded_and_keeps_what_blessed_models_need(own_runs, ask_json):
    plan = ask_json("gc", "--keep", "1", output=own_runs.output_root)
    refused = [key for key in own_runs.artifacts[REFUSED] if key.split(".")[0] in FROM_TRAINER]
    wanted = {f"a{own_runs.artifacts[REFUSED][key]}" for key in refused}
    assert {item["artifact"] for item in plan["items"]} == wanted
    assert {item["reason"] for item in plan["items"]} == {"superseded"}
    assert plan["bytes"] == 10 * len(wanted)
    assert all(Path(item["path"], "content").exists() for item in plan["items"])


def test_gc_keeps_the_latest_runs_whole(own_runs, ask):
    assert ask("gc", output=own_runs.output_root) == ["nothing could go"]


def test_gc_finds_orphans_and_outputs_of_failures(own_runs, ask_json, ask):
    orphan = own_runs.output_root / "artifacts" / "Trainer" / "model" / "99"
    orphan.mkdir()
    (orphan / "weights").write_bytes(b"12345")
    (item,) = ask_json("gc", output=own_runs.output_root)["items"]
    told = {"reason": "orphan", "node": "Trainer", "artifact": None, "path": str(orphan), "kind": "folder", "bytes": 5}
    assert item == told
    assert ask("gc", output=own_runs.output_root)[-1] == "1 folder, 5 B could go; --delete deletes it"


def test_gc_passes_over_what_a_run_is_writing(own_runs, ask):
    number = own_runs.executions[BROKEN]["Transform"]
    folder = own_runs.output_root / "artifacts" / "Transform" / "transform_graph" / str(number)
    folder.mkdir()
    assert ask("gc", output=own_runs.output_root)[1].startswith("orphan")
    with contextlib.closing(sqlite3.connect(own_runs.output_root / "metadata.db")) as connection:
        connection.execute("UPDATE Execution SET last_known_state = 2 WHERE id = ?", (number,))
        connection.commit()
    assert ask("gc", output=own_runs.output_root) == ["nothing could go"]


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_gc_of_a_moved_output_root_is_about_its_own_files(own_runs, ask_json, tmp_path, how):
    """What is served stays known as that, so that the next candidate is compared with it."""
    moved, first = tmp_path / "moved", own_runs.output_root
    plans = [ask_json("gc", "--keep", "0", output=first)["items"]]
    how(first, moved)
    plans.append(ask_json("gc", "--keep", "0", output=moved)["items"])
    for item in plans[0]:
        item["path"] = str(moved / Path(item["path"]).relative_to(first))
    assert plans[0]
    assert plans[1] == plans[0]


def test_served_version_is_found_by_its_path_in_a_moved_output_root(own_runs, ask_json, tmp_path):
    (shown, _) = sorted((own_runs.output_root / "serving" / "fashion_mnist").iterdir())
    before = ask_json("show", str(shown), output=own_runs.output_root)
    moved = shutil.move(own_runs.output_root, tmp_path / "moved")
    found = ask_json("show", f"{moved / 'serving' / 'fashion_mnist' / shown.name}/", output=moved)
    assert (found["artifact"], found["type"]) == (before["artifact"], "PushedModel")


def test_path_that_leads_to_itself_names_nothing(refusal, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "expected a run of" in refusal("show", str(tmp_path / "loop"))


def test_gc_deletes_and_marks_as_deleted(own_runs, ask, ask_json):
    planned = ask_json("gc", "--keep", "1", output=own_runs.output_root)
    (own_runs.output_root / "tensorboard").mkdir()
    (own_runs.output_root / "tensorboard" / FIRST).symlink_to(planned["items"][0]["path"])
    lines = ask("gc", "--keep", "1", "--delete", output=own_runs.output_root)
    assert lines[-1] == f"{len(planned['items'])} folders, {10 * len(planned['items'])} B deleted"
    assert not any(Path(item["path"]).exists() for item in planned["items"])
    assert list((own_runs.output_root / "tensorboard").iterdir()) == []
    for item in planned["items"]:
        assert ask_json("show", item["artifact"], output=own_runs.output_root)["state"] == "deleted"
    assert ask("gc", "--keep", "1", output=own_runs.output_root) == ["nothing could go"]
    model = ask_json("show", f"a{own_runs.artifacts[SEEDED]['Exporter.model']}", output=own_runs.output_root)
    assert (model["state"], model["bytes"]) == ("live", 10)


def test_folder_that_cannot_be_deleted_is_named(own_runs, refusal, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    line = refusal("gc", "--keep", "1", "--delete", output=own_runs.output_root)
    assert line.endswith("cannot be deleted (Permission denied), nor can 7 more. Mend the permissions and repeat.")


def test_deleting_while_a_run_goes_on_is_refused_and_changes_nothing(own_runs, refusal):
    before = sorted(own_runs.output_root.rglob("*"))
    with (own_runs.output_root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = refusal("gc", "--keep", "0", "--delete", output=own_runs.output_root, status=75)
    assert line == (
        f"pipeline.metadata: {own_runs.output_root}: another run is using it. Nothing was deleted; wait for its end."
    )
    assert [path for path in sorted(own_runs.output_root.rglob("*")) if path.name != ".lock"] == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "a999"), "artifact a999: expected a1 to a"),
        (("show", "e999"), "execution e999: expected e1 to e"),
        (("show", "2030"), "run 2030: expected a run of"),
        (("show", "2026"), "run 2026: expected the beginning of one run's id, found 5 (20260101-120000-000 to"),
        (("diff", FIRST, "nowhere"), "run nowhere: expected a run of"),
        (("why", "Traner"), "node Traner: expected one of the pipeline (ExampleGen, "),
        (("lineage", "e1"), "e1: expected an artifact (a1), a path, a served version or a run, found an execution."),
        (("gc", "--keep", "-1"), "--keep: expected 0 or more runs, found -1."),
    ],
)
def test_what_is_not_there_is_told_in_one_line(refusal, words, told):
    assert refusal(*words).startswith(f"pipeline.metadata: {told}")


def test_run_without_a_model_has_no_lineage(tmp_path, refusal):
    runs = RecordedRuns(tmp_path / "output")
    runs.add(FIRST, failed="Transform")
    assert "expected a model, found none" in refusal("lineage", "latest", output=runs.output_root)


def test_missing_database_says_what_to_do(tmp_path, refusal):
    assert refusal("runs", output=tmp_path) == (
        f"pipeline.metadata: {tmp_path / 'metadata.db'}: expected a database of ML Metadata, found none. Run the "
        "pipeline first, or name the folder of its output with --output-root."
    )
    assert list(tmp_path.iterdir()) == []


def test_damaged_database_and_one_of_something_else_are_told(tmp_path, own_runs, refusal):
    database = own_runs.output_root / "metadata.db"
    whole = database.read_bytes()
    database.write_bytes(b"precious" * 1000)
    assert "found something else (file is not a database)" in refusal("runs", output=own_runs.output_root)
    database.write_bytes(whole[:5000])
    assert "found something else" in refusal("runs", output=own_runs.output_root)
    database.write_bytes(b"")
    assert "found something else (no such table: MLMDEnv)" in refusal("runs", output=own_runs.output_root)
    assert database.read_bytes() == b""


def test_database_of_a_newer_ml_metadata_is_refused(own_runs, refusal):
    with sqlite3.connect(own_runs.output_root / "metadata.db") as connection:
        connection.execute("UPDATE MLMDEnv SET schema_version = 11")
    assert "expected version 10 of the schema of ML Metadata or an older one, found 11." in refusal(
        "runs", output=own_runs.output_root
    )


def test_database_without_runs_says_so(tmp_path, ask, refusal):
    output = RecordedRuns(tmp_path / "output").output_root
    assert ask("runs", output=output) == ["no runs yet"]
    assert "expected runs, found none" in refusal("show", "latest", output=output)


def test_asking_changes_no_byte(own_runs, ask):
    database = own_runs.output_root / "metadata.db"
    before = database.read_bytes()
    for words in (("runs",), ("show", "latest"), ("lineage", SEEDED), ("why", "Trainer"), ("gc",)):
        ask(*words, output=own_runs.output_root)
    assert database.read_bytes() == before


def test_answer_waits_for_a_writer_that_holds_the_database(own_runs, ask):
    """A run that commits holds the database for milliseconds; the reader waits."""
    connection = sqlite3.connect(own_runs.output_root / "metadata.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.3, connection.execute, ["COMMIT"])
    release.start()
    assert len(ask("runs", output=own_runs.output_root)) == 6
    release.join()
    connection.close()


def test_store_refuses_in_the_words_of_the_command_line(tmp_path):
    from pipeline.metadata.store import Store

    with pytest.raises(InputError, match="expected a database of ML Metadata, found none"):
        Store(tmp_path / "metadata.db")


def test_database_that_may_not_be_read_is_a_line(own_runs, refusal, monkeypatch):
    """Patched, because root may read everything."""
    path, connect = own_runs.output_root / "metadata.db", sqlite3.connect

    def refuse(place, **options):
        # As sqlite says it; with its code.
        return connect(place if place == ":memory:" else "file:/nowhere/metadata.db?mode=ro", **options)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    told = f"{path}: cannot be read (unable to open database file). Mend its permissions, and run again."
    assert refusal("runs", output=own_runs.output_root).endswith(told)


def test_database_that_another_program_has_locked_is_told_as_that(own_runs, refusal, monkeypatch):
    """And not as something else than a database, to be moved away."""
    monkeypatch.setattr("pipeline.metadata.connection._PATIENCE_SECONDS", 0.1)
    database = own_runs.output_root / "metadata.db"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        line = refusal("runs", output=own_runs.output_root, status=75)
    assert line == (
        f"pipeline.metadata: {database}: another program has it locked. Close what has it open, such as a database "
        "browser or a backup, and try again."
    )


def test_database_whose_writer_was_killed_within_a_transaction_is_read_as_it_was_before_it(own_runs, ask):
    database = own_runs.output_root / "metadata.db"
    before = ask("runs", output=own_runs.output_root)
    half = _half_written(database)
    assert ask("runs", output=own_runs.output_root) == before
    assert _content(database) == half


def test_dry_run_behind_a_writer_that_was_killed_within_a_transaction_stands_on_what_was_before_it(own_runs, tmp_path):
    database, copy = own_runs.output_root / "metadata.db", OutputRoot(tmp_path)
    before = [run.id for run in Store(database).runs()]
    half = _half_written(database)
    _copy_database(OutputRoot(own_runs.output_root), copy)
    assert [run.id for run in Store(copy.metadata).runs()] == before
    assert _content(database) == half


def _content(database: Path) -> list[bytes]:
    """Returns what is in the database and in its journal."""
    return [path.read_bytes() for path in (database, database.with_name(f"{database.name}-journal"))]


def _half_written(database: Path) -> list[bytes]:
    """Has a writer killed over the database, and returns what it left in it and in its journal."""
    # sqlite writes into the database, and what was there into a journal, as soon as its cache is full.
    code = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA cache_size = 1')\n"
        "database.execute('BEGIN')\n"
        "database.execute('DELETE FROM Context')\n"
        "for _ in range(500):\n"
        "    database.execute('INSERT INTO Context (type_id, name) VALUES (1, hex(randomblob(500)))')\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(database)]).returncode == 9
    half = _content(database)
    assert len(half[1]) > 0
    return half
