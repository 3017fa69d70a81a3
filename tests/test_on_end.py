"""The command at the end of a run: what it is told, and that it changes nothing."""

import subprocess
import time
from pathlib import Path

import pytest

from pipeline.run import on_end
from pipeline.run.on_end import End, run_command


@pytest.fixture
def end(tmp_path: Path) -> End:
    summaries = tuple(tmp_path / "output" / "runs" / run / "summary.json" for run in ("one", "two"))
    return End(
        exit_status=4,
        state="not blessed",
        output_root=tmp_path / "output",
        summaries=summaries,
        message='a "quoted" $line',
    )


def test_command_is_told_status_state_summaries_and_message(end, tmp_path):
    assert run_command(f"env > '{tmp_path}/told'; pwd >> '{tmp_path}/told'", end, seconds=10) is None
    told = (tmp_path / "told").read_text()
    root = (tmp_path / "output").resolve()
    for line in (
        "PIPELINE_EXIT_STATUS=4",
        "PIPELINE_STATE=not blessed",
        f"PIPELINE_SUMMARY={root}/runs/two/summary.json",
        f"PIPELINE_SUMMARIES={root}/runs/one/summary.json\n{root}/runs/two/summary.json",
        f"PIPELINE_OUTPUT_ROOT={root}",
        'PIPELINE_MESSAGE=a "quoted" $line',
        str(Path.cwd()),
    ):
        assert f"{line}\n" in told


def test_process_without_a_run_has_no_summary(tmp_path):
    told = End(exit_status=75, state="busy", output_root=tmp_path).variables()
    assert (told["PIPELINE_SUMMARY"], told["PIPELINE_SUMMARIES"], told["PIPELINE_MESSAGE"]) == ("", "", "")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 7", "on_end: exit 7: ended with status 7."),
        ("no-such-program-here", "on_end: no-such-program-here: ended with status 127."),
        ("kill -9 $$", "on_end: kill -9 $$: ended by signal 9."),
    ],
)
def test_command_that_fails_is_one_line(command, told, end):
    assert run_command(command, end, seconds=10) == told


def test_what_a_command_prints_goes_to_stderr_for_stdout_may_hold_events(end, capfd):
    run_command("echo out; echo err >&2", end, seconds=10)
    assert capfd.readouterr() == ("", "out\nerr\n")


@pytest.mark.parametrize("command", ["sleep 60", "trap '' TERM; sleep 60 & sleep 60; wait"], ids=["hangs", "ignores"])
def test_command_that_hangs_is_ended_with_all_that_it_started(command, end, monkeypatch):
    monkeypatch.setattr(on_end, "_GRACE_SECONDS", 0.05)
    started: list[subprocess.Popen] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(on_end.subprocess, "Popen", Noted)
    begun = time.monotonic()
    told = run_command(command, end, seconds=0.1)
    assert told == f"on_end: {command}: took more than on_end_seconds, 0.1, and was ended."
    assert time.monotonic() - begun < 5
    (process,) = started
    # SIGKILL was sent, and the kernel may take its time; a zombie that nobody has waited for is no process any more.
    alive = [""]
    while alive and time.monotonic() - begun < 30:
        listed = subprocess.run(["ps", "-o", "stat=", "--sid", str(process.pid)], capture_output=True, text=True).stdout
        alive = [state for state in listed.split() if not state.startswith("Z")]
    assert alive == []


def test_ctrl_c_ends_the_command_and_no_more(end, monkeypatch):
    monkeypatch.setattr(on_end, "_GRACE_SECONDS", 0.05)
    waited = subprocess.Popen.wait
    interrupts = iter([KeyboardInterrupt])

    def wait(self, timeout=None):
        for interrupt in interrupts:
            raise interrupt
        return waited(self, timeout)

    monkeypatch.setattr(on_end.subprocess.Popen, "wait", wait)
    assert run_command("sleep 60", end, seconds=60) == "on_end: sleep 60: ended, for it was interrupted."
