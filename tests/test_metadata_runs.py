"""The answers on a database of real runs, made once through the command line: cached, changed, failed, not blessed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.run.code_digest import ROOT

pytestmark = pytest.mark.slow

SEED = ("--set", "training.seed=5")
NODES = ["ExampleGen", "StatisticsGen", "AcceptedData", "SchemaGen", "ExampleValidator", "DataGate", "Transform"]


class Project:
    """A copy of the project whose code a test may change, and the output of its runs."""

    def __init__(self, folder: Path) -> None:
        self.root, self.output = folder / "project", folder / "output"
        for name in ("components", "models", "pipeline", "schema"):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "local_runner.py", self.root)

    def run(self, *flags: str, status: int = 0) -> str:
        command = ["local_runner.py", "--preset", "smoke", "--data-dir", str(ROOT / "data")]
        return self.start(*command, "--output-root", str(self.output), *flags, status=status)

    def start(self, *command: str, status: int) -> str:
        done = subprocess.run([sys.executable, *command], cwd=self.root, capture_output=True, text=True, timeout=600)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ask(self, *words: str) -> str:
        command = [sys.executable, "-m", "pipeline.metadata", *words, "--output-root", str(self.output)]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self, text: str) -> dict[str, str]:
        rows = [line.split() for line in text.splitlines() if line[:1].isupper()]
        return {words[0]: words[1] for words in rows if words[0] in [*NODES, *_AFTER]}


_AFTER = ["Trainer", "Exporter", "BlessedModel", "InfraValidator", "Evaluator", "BulkInferrer", "Pusher"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Runs, the oldest first: whole; not blessed; the data alone; trained with another seed; not servable."""
    project = Project(tmp_path_factory.mktemp("metadata"))
    project.first = project.run()
    project.refused = project.run("--set", "floors.accuracy=0.999", status=4)
    project.before = (project.output / "metadata.db").read_bytes()
    project.plan = project.run("--dry-run", *SEED, "--from", "Trainer", "--to", "InfraValidator")
    assert (project.output / "metadata.db").read_bytes() == project.before
    project.data = project.run("--to", "DataGate")
    project.part = project.run(*SEED, "--from", "Trainer", "--to", "InfraValidator")
    validator = project.root / "components" / "infra_validator" / "component.py"
    validator.write_text(validator.read_text().replace("    def Do(", "    def Undone(", 1))
    project.broken = project.run("--only", "InfraValidator", *SEED, status=1)
    return project


def test_nodes_tell_what_they_made(project):
    assert "5,500 examples" in project.first
    assert "3 of 3 splits without anomalies" in project.first
    assert " % validation, 4 epochs" in project.first
    assert " % test" in project.first


def test_dry_run_foretold_what_the_run_did(project):
    foretold = {node: state for node, state in project.states(project.plan).items()}
    assert foretold == dict.fromkeys(NODES, "skipped") | {
        "Trainer": "would",
        "Exporter": "would",
        "InfraValidator": "would",
        **dict.fromkeys(("BlessedModel", "Evaluator", "BulkInferrer", "Pusher"), "skipped"),
    }
    assert "setting custom_config.training.seed: - -> 5" in project.plan
    done = project.states(project.part)
    assert {node for node, state in done.items() if state == "ran"} == {"Trainer", "Exporter", "InfraValidator"}


def test_part_of_the_pipeline_takes_what_it_needs_from_the_latest_run_that_has_it(project):
    runs = json.loads(project.ask("runs", "--json"))
    assert [run["state"] for run in runs] == ["failed", "done", "done", "not blessed", "done"]
    # Not from the latest run: that one stopped before the Transform.
    assert project.part.count(f"of run {runs[-2]['id']}") == len(NODES)
    summaries = sorted(project.output.glob("runs/*/summary.json"))
    part = json.loads(summaries[3].read_text())
    assert part["metrics"] is None
    assert part["training"]["epochs"] == 4
    assert part["provenance"]["settings"]["training"]["seed"] == 5
    assert [node["state"] for node in part["nodes"] if node["id"] in NODES] == ["skipped"] * len(NODES)


def test_served_model_leads_to_data_code_and_every_setting(project):
    version = json.loads(project.ask("runs", "--json"))[-1]["pushed"]
    graph = json.loads(project.ask("lineage", version, "--json"))
    nodes = {execution["node"]: execution["properties"] for execution in graph["executions"]}
    summary = json.loads(min(project.output.glob("runs/*/summary.json")).read_text())
    (examples,) = [artifact for artifact in graph["artifacts"] if artifact["type"] == "Examples"]
    assert examples["properties"]["digest"] == summary["data"]["digest"]
    assert len(nodes["Trainer"]["code_digest"]) == 64
    assert json.loads(nodes["Trainer"]["custom_config"])["training"]["epochs"] == 4
    (run,) = graph["runs"].values()
    assert run["settings"]["training"]["network"]["widths"] == [16, 32, 64]
    assert run["git"]["revision"] is None
    assert "└─" in project.ask("lineage", version)


def test_data_set_leads_to_every_model(project):
    graph = json.loads(project.ask("lineage", "a1", "--down", "--json"))
    assert sum(artifact["type"] == "Model" for artifact in graph["artifacts"]) == 4


def test_why_names_setting_and_source_file(project):
    runs = [run["id"] for run in json.loads(project.ask("runs", "--json"))]
    assert "setting custom_config.training.seed: - -> 5" in project.ask("why", "Trainer", runs[1])
    broken = project.ask("why", "InfraValidator")
    assert broken.startswith("InfraValidator failed in run")
    assert "code: components/infra_validator/component.py changed" in broken
    assert "inputs, settings and code are those of" in project.ask("why", "DataGate", runs[2])


def test_why_of_a_refusal_names_the_floor_and_all_else_was_cached(project):
    runs = [run["id"] for run in json.loads(project.ask("runs", "--json"))]
    told = project.ask("why", "Evaluator", runs[-2])
    assert re.search(r"setting eval_config\S*lower_bound: 0.6 -> 0.999", told)
    ran = {node for node, state in project.states(project.refused).items() if state == "ran"}
    assert ran == {"Evaluator", "Pusher"}


def test_diff_names_the_changed_module_and_seed(project):
    runs = [run["id"] for run in json.loads(project.ask("runs", "--json"))]
    rows = json.loads(project.ask("diff", runs[-1], runs[0], "--json"))["differences"]
    found = {(row["aspect"], row["name"]) for row in rows}
    assert ("settings", "training.seed") in found
    assert {name for aspect, name in found if aspect == "code"} == {"components.infra_validator.component"}
    assert not [key for key in found if key[0] in ("data", "packages", "machine", "git")]


def test_deleted_outputs_are_not_taken_from_the_cache_and_served_models_stay(project, tmp_path):
    served = {path: path.read_bytes() for path in project.output.glob("serving/**/*") if path.is_file()}
    plan = json.loads(project.ask("gc", "--keep", "0", "--json"))
    # What was trained with the other seed and what followed, and the refusal; not what the blessing rests on.
    assert {item["node"] for item in plan["items"] if item["artifact"]} == {
        "Trainer",
        "Exporter",
        "InfraValidator",
        "Evaluator",
        "Pusher",
    }
    assert project.ask("gc", "--keep", "0", "--delete").splitlines()[-1].endswith("deleted")
    again = project.run(*SEED, "--from", "Trainer", "--to", "Trainer")
    assert project.states(again)["Trainer"] == "ran"
    assert "is gone" in project.ask("why", "Trainer")
    for path, content in served.items():
        assert path.read_bytes() == content


def test_run_clears_behind_itself_and_the_next_one_is_all_cached(project):
    validator = project.root / "components" / "infra_validator" / "component.py"
    validator.write_text(validator.read_text().replace("    def Undone(", "    def Do(", 1))
    kept = ("--set", "kept_runs=1", "--note", "the last but one", "--tag", "kept")
    told = project.run(*kept)
    assert re.search(r"^retention +\S+ s  \d+ folders.* of superseded runs deleted$", told, re.MULTILINE)
    latest, *others = [run["id"] for run in json.loads(project.ask("runs", "--json"))]
    # The first run's model is served: what it said stays too.
    for name in ("report.html", "summary.json"):
        assert {path.parent.name for path in project.output.glob(f"runs/*/{name}")} == {latest, others[-1]}
    assert json.loads(project.ask("show", "kept", "--json"))["run"]["note"] == "the last but one"
    assert json.loads((project.output / "runs" / latest / "summary.json").read_text())["tags"] == ["kept"]
    again = project.run("--set", "kept_runs=1")
    assert set(project.states(again).values()) == {"cached"}
