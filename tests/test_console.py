"""What a person sees, and what goes to the log, at the level of file descriptors and of a pseudo-terminal."""

import datetime
import json
import logging
import os
import pty
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pipeline.output_root import OutputRoot
from pipeline.run.console import Console
from pipeline.run.telling import tell
from tests.ended_runs import write_run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def test_node_is_one_line_with_state_seconds_and_detail(log, capfd):
    with Console(log) as console:
        console.start("Trainer")
        console.end("Trainer", "ran", 81.24, "validation accuracy 0.9381")
        console.end("Pusher", "cached", 0.06)
    lines = capfd.readouterr().out.splitlines()
    assert lines == [
        "Trainer              ran        81.2 s  validation accuracy 0.9381",
        "Pusher               cached      0.1 s",
    ]


def test_everything_else_goes_to_the_log(log, capfd):
    with Console(log) as console:
        os.write(1, b"from C on descriptor 1\n")
        os.write(2, b"from C on descriptor 2\n")
        subprocess.run([sys.executable, "-S", "-c", "print('from a child')"], check=True)
        logging.getLogger("tensorflow").warning("from a logger")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("from a warning", UserWarning, stacklevel=1)
        console.line("for the eye")
    seen = capfd.readouterr()
    assert seen.out == "for the eye\n"
    assert seen.err == ""
    text = log.read_text()
    assert "for the eye" not in text
    for wanted in ("descriptor 1", "descriptor 2", "from a child", "WARNING tensorflow: from a logger", "a warning"):
        assert wanted in text


def test_what_python_had_buffered_is_neither_lost_nor_mixed_up(log):
    """In a process of its own: under pytest `sys.stdout` is not on descriptor 1."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.run.console import Console\n"
        "print('before')\nwith Console(Path(sys.argv[1])):\n    print('within')\nprint('after')\n"
    )
    process = subprocess.run([sys.executable, "-c", script, str(log)], capture_output=True, text=True, cwd=ROOT)
    assert (process.stdout, process.stderr) == ("before\nafter\n", "")
    assert log.read_text() == "within\n"


def test_streams_and_loggers_are_as_before_even_after_an_error(log, capfd):
    root, progress = logging.getLogger(), logging.getLogger("progress")
    before = (root.handlers[:], root.level, progress.handlers[:])
    with pytest.raises(RuntimeError, match="within"), Console(log):
        raise RuntimeError("within")
    assert (root.handlers[:], root.level, progress.handlers[:]) == before
    os.write(1, b"out\n")
    os.write(2, b"err\n")
    assert capfd.readouterr() == ("out\n", "err\n")


def test_descriptors_are_given_back(log):
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(3):
        with Console(log):
            pass
    assert count() == before


def test_log_of_an_earlier_run_is_kept(log):
    log.write_text("earlier\n")
    with Console(log):
        os.write(1, b"later\n")
    assert log.read_text() == "earlier\nlater\n"


def test_no_terminal_sees_no_progress_and_no_control_codes(log, capfd):
    with Console(log) as console:
        console.start("Trainer")
        logging.getLogger("progress").info("epoch 1/5")
        console.line("done")
    assert capfd.readouterr().out == "done\n"
    assert "INFO progress: epoch 1/5" in log.read_text()


def test_terminal_sees_progress_that_the_next_line_replaces(log):
    """In a process of its own on a pseudo-terminal of 40 columns."""
    script = (
        "import logging, os, sys, termios, fcntl, struct\n"
        "from pathlib import Path\n"
        "from pipeline.run.console import Console\n"
        "fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 40, 0, 0))\n"
        "with Console(Path(sys.argv[1])) as console:\n"
        "    console.start('Trainer')\n"
        "    logging.getLogger('progress').info('epoch 1/5 ' + 50 * 'x')\n"
        "    console.line('done')\n"
    )
    terminal, child = pty.openpty()
    subprocess.run([sys.executable, "-c", script, str(log)], stdout=child, cwd=ROOT, check=True)
    os.close(child)
    seen = os.read(terminal, 10_000).decode()
    os.close(terminal)
    started, progress, done = [part for part in seen.split("\r\x1b[K") if part]
    assert started == "Trainer              ..."
    assert progress.startswith("Trainer              epoch 1/5 xx")
    assert len(progress) == 39
    assert done == "done\r\n"


@pytest.mark.parametrize("how", ["closed terminal", "full disk"])
def test_output_that_nobody_takes_any_more_ends_nothing(log, how):
    """In a process of its own: the other end of its pseudo-terminal is closed while it works."""
    script = (
        "import logging, os, pty, sys\n"
        "from pathlib import Path\n"
        "from pipeline.run.console import Console, say\n"
        "other, terminal = pty.openpty()\n"
        "if sys.argv[2] == 'full disk':\n"
        "    terminal = os.open('/dev/full', os.O_WRONLY)\n"
        "os.dup2(terminal, 1)\n"
        "os.dup2(terminal, 2)\n"
        "with Console(Path(sys.argv[1])) as console:\n"
        "    os.close(other)\n"
        "    console.start('Trainer')\n"
        "    logging.getLogger('progress').info('epoch 1/5')\n"
        "    logging.getLogger('progress').warning('slow')\n"
        "    console.error('it failed')\n"
        "    console.end('Trainer', 'ran', 1.0)\n"
        "say('the end')\n"
        "say('the end', sys.stderr)\n"
        "sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(log), how], cwd=ROOT, check=False)
    assert done.returncode == 7, "also behind what Python flushes at its end"
    assert [word in log.read_text() for word in ("epoch 1/5", "slow", "it failed")] == [True] * 3


def test_output_that_was_closed_before_is_no_file_that_is_opened_later(log):
    """What the C++ parts print would be written into it: the database, for one."""
    script = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from pipeline.run.console import Console, legible, say\n"
        "legible()\n"
        "with Path(sys.argv[1] + '.other').open('w') as other, Console(Path(sys.argv[1])) as console:\n"
        "    console.line('done')\n"
        "    console.error('it failed')\n"
        "    os.write(1, b'native')\n"
        "    subprocess.run(['sh', '-c', 'echo of a child'], check=True)\n"
        "say('the end')\n"
        "say('the end', sys.stderr)\n"
        "print(os.read(0, 1), sys.stdin.read())\n"
        "sys.exit(7 + Path(sys.argv[1] + '.other').stat().st_size)\n"
    )
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script, str(log)]
    assert subprocess.run(closed, cwd=ROOT, check=False).returncode == 7
    assert [word in log.read_text() for word in ("it failed", "native", "of a child")] == [True] * 3


def test_without_a_terminal_long_steps_tell_a_line_now_and_then(log, capfd, monkeypatch):
    """An epoch is told, but not each of many, and what is for the eyes alone never."""
    now = [0.0]
    monkeypatch.setattr("pipeline.run.console.time.monotonic", lambda: now[0])
    progress = logging.getLogger("progress")
    with Console(log) as console:
        console.start("Trainer")
        for second in range(0, 60, 6):
            now[0] = float(second)
            progress.debug("step %d", second)
            progress.info("epoch after %d s", second)
    assert [line.split()[-2] for line in capfd.readouterr().out.splitlines()] == ["18", "36", "54"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_failure_goes_to_stderr_in_either_format_and_into_the_log(log, capfd, log_format):
    with Console(log, log_format) as console:
        console.start("DataGate")
        console.error("DataGate failed: the data gate refuses the data:\nerror: train: label: too high")
    seen = capfd.readouterr()
    assert seen.err == "DataGate failed: the data gate refuses the data:\nerror: train: label: too high\n"
    events = [json.loads(line) for line in seen.out.splitlines()]
    expected = [] if log_format == "text" else [("start", None), ("error", seen.err.rstrip("\n"))]
    assert [(event["event"], event.get("text")) for event in events] == expected
    assert "ERROR console: DataGate failed: the data gate refuses the data:" in log.read_text()


def test_json_format_is_an_event_a_line(log, capfd):
    with Console(log, "json") as console:
        console.start("Trainer")
        logging.getLogger("progress").info("epoch 1")
        logging.getLogger("progress").warning("slow")
        console.end("Trainer", "ran", 1.5, "93 %")
        console.line("done")
        console.result(state="done", exit_status=0)
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event.pop("event") for event in events] == ["start", "progress", "warning", "end", "line", "result"]
    assert all(datetime.datetime.fromisoformat(event.pop("time")) for event in events)
    assert events[1] == {"node": "Trainer", "text": "epoch 1"}
    assert events[3] == {"node": "Trainer", "state": "ran", "seconds": 1.5, "detail": "93 %"}
    assert events[5] == {"state": "done", "exit_status": 0}


def test_end_of_a_run_tells_no_figure_that_is_the_same_whatever_the_model_does(tmp_path, capfd):
    """Of two classes the right one is always among the first two."""
    root = OutputRoot(tmp_path / "output")
    for classes in (2, 3):
        metrics = {"test_accuracy": 0.9, "top_2_accuracy": 1.0, "confusion_matrix": [[1] * classes] * classes}
        more = {"metrics": metrics, "verdict": "blessed: good", "pushed_model": None, "tensorboard": None}
        folder = write_run(root, f"20261122-02000{classes}-000", **more)
        with Console(folder.log) as console:
            tell(json.loads(folder.summary.read_text()), folder, None, None, console)
        told = capfd.readouterr().out.splitlines()
        top = "   right class among the first two 1.0000" if classes == 3 else ""
        assert told[1] == f"test accuracy 0.9000{top}"
