"""What follows on the end of a process of the pipeline, however it ends."""

import contextlib
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recorded_runs import RecordedRuns
from components.errors import BusyError, InputError
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot
from pipeline.presets import preset
from pipeline.report import index_page
from pipeline.run import monitoring
from pipeline.run.aftermath import followed_up, made, refresh
from pipeline.run.run import run_pipeline
from pipeline.settings import Settings
from pipeline.stopping import Terminated
from tests.ended_runs import refusal, write_run

TOLD = 'echo "$PIPELINE_EXIT_STATUS $PIPELINE_STATE $PIPELINE_MESSAGE" > "$PIPELINE_OUTPUT_ROOT/told"'


@pytest.fixture
def root(tmp_path: Path) -> OutputRoot:
    made = OutputRoot(tmp_path / "output")
    made.path.mkdir()
    made.metadata.touch()
    return made


def settings_for(root: OutputRoot, command: str | None = TOLD) -> Settings:
    return Settings.of(PipelineConfig(output_root=root.path, on_end=command))


def ending(how: int | BaseException):
    """Returns a stand-in for the pipeline that ends like this."""

    @followed_up
    def run(settings: Settings) -> int:
        if isinstance(how, int):
            return how
        raise how

    return run


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("no data."), "2 failed no data."),
        (BusyError("another run."), "75 busy another run."),
        (KeyboardInterrupt(), "130 interrupted "),
        (Terminated(15), "143 terminated "),
        (RuntimeError("a bug"), "1 failed "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_way_to_end_is_told_and_goes_on_as_it_was(root, error, told):
    with pytest.raises(type(error)) as raised:
        ending(error)(settings_for(root))
    assert raised.value is error
    assert (root.path / "told").read_text() == f"{told}\n"
    assert f'ends_total{{exit_status="{told.split()[0]}"}} 1.0' in root.metrics.read_text()


def test_what_the_disk_refuses_is_told_as_the_process_tells_it(root):
    error = PermissionError(13, "Permission denied", "span-1/floors.toml")
    with pytest.raises(InputError) as raised:
        ending(error)(settings_for(root))
    assert (root.path / "told").read_text() == f"2 failed {raised.value}\n"
    assert 'ends_total{exit_status="2"} 1.0' in root.metrics.read_text()


def test_night_without_anything_new_is_told_as_that(root):
    assert ending(0)(settings_for(root)) == 0
    assert (root.path / "told").read_text() == "0 nothing new \n"


def test_all_runs_of_a_process_are_told_and_the_last_gives_the_state(root):
    @followed_up
    def night(settings: Settings) -> int:
        made(write_run(root, "20261122-020000-000"))
        made(root.run("20261122-020100-000"))  # nothing of it was recorded
        made(refusal(root, "20261122-020200-000"))
        return 3

    command = 'echo "$PIPELINE_STATE"; echo "$PIPELINE_SUMMARIES"'
    assert night(settings_for(root, f"({command}) > '{root.path}/told'")) == 3
    runs = [str(root.run(f"20261122-020{n}00-000").summary.resolve()) for n in (0, 2)]
    assert (root.path / "told").read_text().splitlines() == ["data refused", *runs]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (BusyError("the server is gone."), "75 busy the server is gone."),
        (InputError("no room."), "2 failed no room."),
        (0, "0 done "),
        (3, "3 data refused "),
    ],
    ids=str,
)
def test_run_whose_end_could_not_be_recorded_goes_on_nowhere(root, how, told):
    @followed_up
    def night(settings: Settings) -> int:
        made(write_run(root, "20261122-020000-000", state="running", exit_status=None))
        return ending(how)(settings)

    with pytest.raises(type(how)) if isinstance(how, BaseException) else contextlib.nullcontext():
        night(settings_for(root))
    assert (root.path / "told").read_text() == f"{told}\n"
    states = {'state="running"': "0.0", 'state="interrupted"': "1.0"}
    for state, value in states.items():
        assert f'run_state{{model="letters.smoke",{state}}} {value}' in root.metrics.read_text()


def test_runs_are_those_of_one_process(root):
    @followed_up
    def first(settings: Settings) -> int:
        made(write_run(root, "20261122-020000-000"))
        return 0

    first(settings_for(root))
    ending(0)(settings_for(root))
    assert (root.path / "told").read_text() == "0 nothing new \n"


def test_command_that_fails_is_told_on_stderr_and_in_the_log_and_changes_no_status(root, capfd):
    run = write_run(root, "20261122-020000-000")
    root.index.touch()

    @followed_up
    def night(settings: Settings) -> int:
        made(run)
        return 0

    assert night(settings_for(root, "exit 9")) == 0
    line = "on_end: exit 9: ended with status 9.\n"
    assert capfd.readouterr() == ("", f"local_runner.py: {line}")
    assert run.log.read_text() == line


def test_page_of_all_runs_is_made_where_a_run_that_was_stopped_made_none(root, monkeypatch):
    pages = []
    monkeypatch.setattr(index_page, "write_index", lambda root: pages.append(root.index.touch()))

    @followed_up
    def night(settings: Settings) -> int:
        made(write_run(root, f"20261122-020{len(pages)}00-000", state="interrupted"))
        raise Terminated(15)

    for count in (1, 2):
        with pytest.raises(Terminated):
            night(settings_for(root))
        assert len(pages) == count

    @followed_up
    def whole(settings: Settings) -> int:
        made(write_run(root, "20261122-030000-000"))
        root.index.touch()
        return 0

    whole(settings_for(root))
    ending(0)(settings_for(root))
    assert len(pages) == 2


def test_metrics_that_cannot_be_written_are_a_line_and_the_command_is_run_all_the_same(root, monkeypatch, capfd):
    def fail(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(monitoring, "write_metrics", fail)
    assert ending(4)(settings_for(root)) == 4
    assert capfd.readouterr().err == f"local_runner.py: {root.metrics}: not written (OSError: no room).\n"
    assert (root.path / "told").read_text() == "4 failed \n"


def test_output_root_that_may_not_be_entered_takes_neither_the_command_nor_the_reason_away(root, monkeypatch, capfd):
    """Patched, because root may look everywhere."""
    stat = os.stat

    def refuse(path, **options):
        if str(path).startswith(f"{root.path}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    @followed_up
    def night(settings: Settings) -> int:
        made(root.run("20261122-020000-000"))
        raise InputError("no data.")

    with monkeypatch.context() as patched, pytest.raises(InputError, match=r"^no data\.$"):
        patched.setattr(os, "stat", refuse)
        night(settings_for(root))
    assert (root.path / "told").read_text() == "2 failed no data.\n"
    assert f"{root.metrics}: not written (PermissionError: " in capfd.readouterr().err


def test_page_that_cannot_be_written_is_told_once_by_its_path(root):
    RecordedRuns(root.path).add("20261122-030000-000", failed="ExampleGen")
    root.index.mkdir()
    (told,) = refresh(root)
    assert told.startswith(f"no page of all runs: {root.index}: cannot be written (Is a directory). Free some space")


def test_signal_behind_the_run_takes_neither_the_command_nor_the_status_away(root, monkeypatch, capfd):
    def stop(*_: object, **__: object) -> None:
        raise Terminated(15)

    monkeypatch.setattr(monitoring, "write_metrics", stop)
    assert ending(0)(settings_for(root)) == 0
    assert capfd.readouterr().err == f"local_runner.py: {root.metrics}: not written (Terminated: 15).\n"
    assert (root.path / "told").read_text() == "0 nothing new \n"


def test_folder_that_nothing_was_run_in_gets_no_metrics(tmp_path):
    root = OutputRoot(tmp_path / "output")
    with pytest.raises(InputError):
        ending(InputError("no data."))(settings_for(root, None))
    assert not root.path.exists()


@pytest.mark.slow
def test_command_is_no_part_of_a_cache_key():
    from tfx.dsl.compiler import compiler

    from pipeline.pipeline import create_pipeline
    from pipeline.run.partial_run import ANY_DATA

    def compiled(**settings: object) -> bytes:
        made = compiler.Compiler().compile(create_pipeline(PipelineConfig(**settings), ANY_DATA))
        return made.SerializeToString(deterministic=True)

    assert compiled(on_end="true", on_end_seconds=1.0) == compiled() != compiled(seed=7)


@pytest.fixture
def config(idx_folder, root, tmp_path: Path) -> PipelineConfig:
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    folder = idx_folder(images, labels, images, labels)
    root.metadata.unlink()
    return preset("smoke", data_dir=folder, output_root=root.path, on_end=f"{{ {TOLD}; }}")


def test_busy_output_root_is_told_by_the_pipeline_itself(config, root, tmp_path):
    with (root.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            run_pipeline(Settings.of(config), tmp_path)
    assert (root.path / "told").read_text().startswith(f"75 busy {root}: another run is using it.")


def test_missing_data_are_told_by_the_pipeline_itself(config, root, tmp_path):
    (config.data_dir / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError) as raised:
        run_pipeline(Settings.of(config), tmp_path)
    assert (root.path / "told").read_text() == f"2 failed {raised.value}\n"
