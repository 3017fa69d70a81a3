"""The command line, mostly in processes of its own. Whole runs are in test_pipeline_runs.py."""

import importlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_runner import _EPILOG, flags_of_settings, main, parse_arguments
from pipeline.config import PipelineConfig, flatten
from pipeline.output_root import OutputRoot

ROOT = Path(__file__).resolve().parent.parent
SAID_NOTHING = {"note": None, "tags": []}


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "local_runner.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def imported(statement: str) -> set[str]:
    """Returns the top-level packages that `statement` has imported when it ends."""
    script = (
        f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(process.stderr.split())


HEAVY = {
    "tensorflow",
    "tfx",
    "keras",
    "apache_beam",
    "numpy",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
}


def test_help_imports_nothing_that_takes_time():
    assert not imported("import local_runner; local_runner.main(['--help'])") & (HEAVY | {"pydantic"})


def test_settings_are_resolved_and_shown_without_anything_heavy():
    statement = "import local_runner; local_runner.main(['--show-config', '--preset', 'smoke', '--set', 'seed=1'])"
    found = imported(statement)
    assert "pydantic" in found
    # Floors are checked against the metrics there are, which are functions on NumPy's arrays.
    assert not found & (HEAVY - {"numpy"})


def test_importing_the_settings_and_the_run_needs_no_tensorflow():
    found = imported("import pipeline.run.run, pipeline.settings, components.example_gen.dataset, models.config")
    assert not found & (HEAVY - {"numpy"})


def test_help_tells_every_exit_status_and_the_defaults():
    process = run("--help")
    assert process.returncode == 0
    # What tests/test_docs.py compares with the README and with the code.
    assert _EPILOG in process.stdout
    for default in ("(fast)", "(output/)", "(42)", "(tensor)", "(error)", "(text)"):
        assert default in process.stdout


def test_help_comes_within_half_a_second():
    # The best of three: the machine may be busy.
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        run("--help")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5


def test_flags_that_were_not_given_are_no_settings():
    assert flags_of_settings(parse_arguments([])) == {}


@pytest.mark.parametrize("flag", ["--tune-trials", "--tune-minutes"])
def test_budget_of_a_search_that_is_none_is_refused(flag, capsys):
    told = f"{flag} 3: expected a search (--tune), whose setting it is, found none. Add --tune.\n"
    assert main([flag, "3", "--show-config"]) == 2
    assert capsys.readouterr().err == f"local_runner.py: {told}"
    assert main(["--set", "tune.algorithm=random", "--show-config"]) == 2
    assert capsys.readouterr().err == told.replace(f"{flag} 3", "--set tune.algorithm=random").join(
        ["local_runner.py: ", ""]
    )
    assert main(["--set", "tune.enabled=false", "--show-config"]) == 0
    for search in (["--tune"], ["--set", "tune.enabled=true"]):
        assert main([*search, flag, "3", "--show-config"]) == 0


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("local_runner", ("--output-root", "")),
        ("local_runner", ("--data-dir", "")),
        ("kubeflow_runner", ("pipeline.json", "--data-dir", "")),
        ("pipeline.metadata.cli", ("runs", "--output-root", "")),
        ("pipeline.predict", ("", "answers.csv")),
        ("pipeline.propose_schema", ("--output-root", "")),
        ("pipeline.report.__main__", ("--output-root", "")),
        ("pipeline.rollback", ("--output-root", "")),
        ("pipeline.sweep.__main__", ("--page", "")),
    ],
)
def test_no_path_is_the_current_folder_for_being_empty(module, arguments, capsys):
    """As that of "$OUT" is where nobody set the variable."""
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(list(arguments))
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(": expected a path, found an empty text")


def test_given_flags_are_settings_as_they_were_typed():
    argv = ["--seed", "7", "--no-cache", "--image-encoding", "png", "--output-root", "out", "--name", "mnist"]
    assert flags_of_settings(parse_arguments(argv)) == {
        "output_root": ("--output-root out", Path("out")),
        "name": ("--name mnist", "mnist"),
        "seed": ("--seed 7", 7),
        "image_encoding": ("--image-encoding png", "png"),
        "enable_cache": ("--no-cache", False),
    }


def test_shown_config_names_every_setting_and_needs_no_data(tmp_path):
    output = tmp_path / "output"
    process = run("--show-config", "--output-root", str(output), "--data-dir", "/nowhere", "--set", "training.epochs=3")
    assert (process.returncode, process.stderr) == (0, "")
    rows = [re.split("  +", line) for line in process.stdout.splitlines()]
    assert [name for name, _, _ in rows] == ["name", *flatten(PipelineConfig())]
    assert ["training.epochs", "3", "--set training.epochs=3"] in rows
    assert ["output_root", f'"{output}"', f"--output-root {output}"] in rows
    assert list(tmp_path.iterdir()) == []


def test_sample_in_the_documentation_is_what_is_shown(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "settings.md").read_text()
    sample = re.search(r"some of the lines:\n\n((?:    .*\n)+)", text).group(1).splitlines()
    (toml,) = re.findall(r"```toml\n# experiment\.toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "experiment.toml").write_text(toml.replace('preset = "smoke"\n', ""))
    monkeypatch.chdir(tmp_path)
    flags = [word for line in sample for word in line.split("  ")[-1].split() if "--" in line]
    assert main(["--show-config", "--config", "experiment.toml", *flags]) == 0
    shown = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    for line in sample:
        assert re.split("  +", line.strip()) in shown


def test_shown_config_is_an_event_where_events_are_asked_for(capsys):
    assert main(["--show-config", "--log-format", "json", "--set", "training.epochs=3"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["event"], told["settings"]["training"]["epochs"]) == ("settings", 3)
    assert told["origins"]["training.epochs"] == "--set training.epochs=3"
    assert set(told["origins"]) == set(flatten(PipelineConfig()))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--set", "training.epochs=0"), "--set training.epochs=0: expected 1 or more, found 0."),
        (("--set", "training.batch_size=0"), "--set training.batch_size=0: expected 1 or more, found 0."),
        (("--set", "training.epochs=three"), "--set training.epochs=three: expected a whole number, found 'three'."),
        (
            ("--set", "training.epoch=3"),
            "--set training.epoch=3: no such setting; the nearest is training.epochs. --show-config lists all.",
        ),
        (("--seed", "7", "--set", "seed=8"), "--set seed=8: --seed 7 says otherwise. Give one of them."),
        (
            ("--show-config", "--set", "floors.nope=0.5"),
            "--set floors.nope=0.5: expected a metric (accuracy, loss, macro_f1, top_2_accuracy, "
            "expected_calibration_error), found 'nope'.",
        ),
        (("--config", "absent.toml"), "--config absent.toml: cannot be read (No such file or directory)."),
        (("--name", "a b"), "--name a b: expected letters, digits, _ and - only, found 'a b'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_settings_that_cannot_be_used_end_2_in_one_line_and_touch_nothing(
    tmp_path, monkeypatch, capsys, arguments, line
):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--output-root", str(tmp_path / "output")]) == 2
    assert capsys.readouterr() == ("", f"local_runner.py: {line}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stop", "state", "status"),
    [
        (signal.SIGINT, "interrupted", 130),
        (signal.SIGTERM, "terminated", 143),
        (signal.SIGHUP, "terminated", 129),
    ],
)
def test_machine_reads_of_an_end_by_a_signal_as_well(heard, monkeypatch, capsys, stop, state, status):
    def stopped(*_: object, **__: object) -> int:
        signal.raise_signal(stop)
        pytest.fail("the signal was not heard")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("pipeline.run.run.run_pipeline", stopped)
    assert main(["--log-format", "json"]) == status
    assert signal.getsignal(signal.SIGTERM) == before
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["state"], told["exit_status"]) == ("result", state, status)


def test_machine_reads_that_another_run_has_the_output_root(tmp_path, fashion_mnist, capsys):
    root = OutputRoot(tmp_path)
    with root.lock("Wait."):
        status = main(["--output-root", str(tmp_path), "--data-dir", str(fashion_mnist), "--log-format", "json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status, told["state"], told["exit_status"]) == (75, "busy", 75)
    assert not list(tmp_path.glob("runs/*"))


def test_machine_reads_of_a_refusal_as_well(capsys):
    assert main(["--set", "training.epochs=0", "--log-format", "json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["state"], told["exit_status"]) == ("result", "failed", 2)
    assert told["text"] == "--set training.epochs=0: expected 1 or more, found 0."


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ((), ("run_pipeline", {"log_format": "text", "labels": SAID_NOTHING})),
        (
            ("--note", " said ", "--tag", "b", "--tag", "a"),
            ("run_pipeline", {"log_format": "text", "labels": {"note": "said", "tags": ["a", "b"]}}),
        ),
        (("--log-format", "json"), ("run_pipeline", {"log_format": "json", "labels": SAID_NOTHING})),
        (("--dry-run",), ("tell_plan", {"log_format": "text"})),
    ],
    ids=("run", "run with note and tags", "run with its log as JSON", "dry run"),
)
def test_command_line_starts_what_it_asks_for_with_its_settings(monkeypatch, arguments, called):
    calls = []
    for function in ("run_pipeline", "tell_plan"):

        def start(settings, root, selection, *, function=function, **options):
            calls.append((function, options))
            assert (settings.given, root, selection.from_node) == ({"seed": 7}, ROOT, "Trainer")
            return 4

        monkeypatch.setattr(f"pipeline.run.run.{function}", start)
    assert main(["--seed", "7", "--from", "Trainer", *arguments]) == 4
    assert calls == [called]


def test_environment_variable_is_a_setting(monkeypatch, capsys):
    monkeypatch.setenv("IMAGE_PIPELINE_SEED", "many")
    assert main([]) == 2
    assert capsys.readouterr().err == "local_runner.py: IMAGE_PIPELINE_SEED: expected a whole number, found 'many'.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-such-flag",),
        ("--preset", "warp"),
        ("--seed", "many"),
        ("--pre", "smoke"),
        ("--log-format", "xml"),
        ("stray",),
        ("--only", "Trainer", "--from", "Trainer"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_2_and_makes_nothing(tmp_path, arguments):
    process = run(*arguments, "--output-root", str(tmp_path / "output"))
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith("local_runner.py: error: ")
    assert process.stdout == ""
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("existing", [False, True], ids=["new output root", "output root in use"])
def test_missing_data_end_2_in_one_line_and_leave_the_output_root_alone(tmp_path, existing):
    output = tmp_path / "output"
    if existing:
        output.mkdir()
        (output / "precious").write_text("kept")
    process = run("--data-dir", str(tmp_path / "nowhere"), "--output-root", str(output))
    assert process.returncode == 2
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert f"{tmp_path / 'nowhere'}: expected a data set, found no such file or folder" in line
    assert "make data" not in line, "that is for Fashion-MNIST"
    assert [path.name for path in tmp_path.rglob("*")] == (["output", "precious"] if existing else [])


@pytest.mark.parametrize("flag", ["--from", "--to", "--only"])
def test_unknown_node_ends_2_and_names_the_nodes_there_are(tmp_path, flag):
    process = run(flag, "Traner", "--output-root", str(tmp_path / "output"))
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("local_runner.py: node Traner: expected one of the pipeline (ExampleGen, StatisticsGen, ")
    assert list(tmp_path.iterdir()) == []


def test_seed_out_of_range_ends_2_in_one_line():
    process = run("--seed", "-1", "--data-dir", "/nowhere")
    assert process.returncode == 2
    assert process.stderr == "local_runner.py: --seed -1: expected 0 to 2147483647, found -1.\n"


@pytest.mark.slow
def test_make_ends_2_and_prints_the_status_which_the_command_itself_ends_with(tmp_path, fashion_mnist):
    where = ["--output-root", str(tmp_path), "--data-dir", str(fashion_mnist)]
    # Neither the set-up nor the data are made anew for it.
    make = ["make", "run", "--old-file", "setup", "--old-file", "data", f"ARGS={' '.join(where)}"]
    with OutputRoot(tmp_path).lock("Wait."):
        made = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert run(*where).returncode == 75
    assert made.returncode == 2
    assert "another run is using it. Wait for it" in made.stderr
    assert "Error 75" in made.stderr
