"""Plays nights: delivers the spans, starts the pipeline as a timer would, and looks at what is left in the morning."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.nights.scenario import DATE, Arrival, Night
from benchmarks.process import ROOT
from benchmarks.scaling import idx_header
from components.example_gen.idx import read_idx
from models.features import FASHION_MNIST_CLASSES
from pipeline.output_root import OutputRoot

LATE_CLASS = FASHION_MNIST_CLASSES.index("Bag")
_PATTERN = "{YYYY}-{MM}-{DD}.v{VERSION}"
# A small network: what is shown is what the pipeline does.
_SETTINGS = ("preset=smoke", "split_limits=none,none,none", "floors.accuracy=0.6", "accuracy_tolerance=0.03")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Morning:
    """What a night left behind."""

    night: Night
    status: int
    seconds: float
    runs: tuple[dict, ...]
    served: str
    accuracy: float | None
    disk_mib: float
    odd: tuple[str, ...]


class Nights:
    """Plays nights below a folder.

    Args:
      folder: for what arrives and for the output root.
      size: images of a span.
      settings: NAME=VALUE, for `--set`.
      flags: further ones of each night.
    """

    def __init__(
        self, folder: Path, *, size: int = 1_500, settings: tuple[str, ...] = _SETTINGS, flags: tuple[str, ...] = ()
    ) -> None:
        self._incoming, self.root = folder / "incoming", OutputRoot(folder / "output")
        self._size, self._settings, self._flags = size, settings, flags
        self._images, self._labels = (
            read_idx(ROOT / "data" / f"train-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1")
        )
        self._incoming.mkdir(parents=True)
        (self._incoming / "classes.txt").write_text("\n".join(FASHION_MNIST_CLASSES) + "\n")
        self._served = ""

    def play(self, nights: list[Night]) -> Iterator[Morning]:
        """Plays each night and yields what it left."""
        for night in nights:
            for arrival in night.arrives:
                self._arrive(arrival)
            if night.rollback:
                command = [sys.executable, "-m", "pipeline.rollback", "--model", "incoming.smoke", *self._of_root()]
                subprocess.run(command, cwd=ROOT, check=True)
                self._served = self._now()[0]
            before, started = set(self._summaries()), time.monotonic()
            status = self._run(night)
            seconds = time.monotonic() - started
            runs = tuple(json.loads(path.read_text()) for path in sorted(set(self._summaries()) - before))
            served, accuracy = self._now()
            morning = Morning(
                night=night,
                status=status,
                seconds=seconds,
                runs=runs,
                served=served,
                accuracy=accuracy,
                disk_mib=self.root.bytes_on_disk() / 2**20,
                odd=tuple(_odd(night, status, runs, served != self._served)),
            )
            self._served = served
            yield morning

    def _arrive(self, arrival: Arrival) -> None:
        rng = np.random.default_rng([arrival.day, arrival.version])
        order = np.random.default_rng(0).permutation(len(self._labels))
        mine = order[(arrival.day - 1) * self._size : arrival.day * self._size]
        if not arrival.late_class:
            mine = mine[self._labels[mine] != LATE_CLASS]
        images, labels = self._images[mine], self._labels[mine]
        if arrival.alter:
            images, labels = arrival.alter(images, labels, rng)
        folder = self._incoming / f"{DATE.format(arrival.day)}.v{arrival.version}"
        # As whoever delivers should: whole, under its name, at once.
        partial = self._incoming / f".{folder.name}.partial"
        partial.mkdir()
        for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
            content = idx_header(*values.shape) + values.tobytes()
            (partial / name).write_bytes(content[:-100] if arrival.broken and values.ndim > 1 else content)
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        partial.rename(folder)

    def _run(self, night: Night) -> int:
        command = [sys.executable, "local_runner.py", "--data-dir", str(self._incoming / _PATTERN), *self._of_root()]
        command += [word for setting in self._settings for word in ("--set", setting)]
        log = self.root.path.parent / f"night-{night.day:02d}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*command, *self._flags, *night.flags], cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True
            )
            if night.kill:
                while process.poll() is None and not self._trains():
                    time.sleep(0.05)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def _trains(self) -> bool:
        """Whether the latest run trains, and has saved an epoch."""
        summaries = self._summaries()
        try:
            nodes = json.loads(summaries[-1].read_text())["nodes"] if summaries else []
        except ValueError:
            return False
        running = any(node["id"] == "Trainer" and node["state"] == "running" for node in nodes)
        return running and any(self.root.checkpoints.glob("*.npz"))

    def _now(self) -> tuple[str, float | None]:
        """Returns the version that is served, and the test accuracy that its run measured."""
        found = subprocess.run(
            [sys.executable, "-m", "pipeline.metadata", "runs", "--json", *self._of_root()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        runs = json.loads(found.stdout) if found.returncode == 0 else []
        champion = next((run for run in runs if run["standing"] == "champion"), None)
        return (champion["id"], champion["accuracy"]) if champion else ("", None)

    def _summaries(self) -> list[Path]:
        return sorted(self.root.path.glob("runs/*/summary.json"))

    def _of_root(self) -> list[str]:
        return ["--output-root", str(self.root.path)]


def _odd(night: Night, status: int, runs: tuple[dict, ...], changed: bool) -> Iterator[str]:
    """Yields what is otherwise than it should be."""
    if status != night.status:
        yield f"exit status {status}, expected {night.status}"
    trained = any(node["id"] == "Trainer" and node["state"] == "ran" for run in runs for node in run["nodes"])
    if trained != night.trains:
        yield "trained" if trained else "not trained"
    if night.serves is not None and changed != night.serves:
        yield "another model is served" if changed else "no other model is served"
    if night.told and not any(night.told in line for run in runs for line in what_was_told(run)):
        yield f"not told: {night.told}"


def what_was_told(run: dict) -> list[str]:
    failure = [run["failure"]["message"]] if run["failure"] else []
    return [reason for gate in run["gates"].values() for reason in gate["reasons"]] + failure
