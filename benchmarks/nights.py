"""Thirty nights in minutes: python -m benchmarks.nights [--warm-start] [--page docs/every-night.md].

Fashion-MNIST comes in spans, one a night, with what goes wrong in practice: a night without data, spans that must be
refused, one that cannot be read, a kill, a drift, a new class, a rollback. Each night is a process, as a timer starts
it, and is judged by its exit status, by what its runs recorded, and by what is served in the morning. The exit status
is 1 where something else happened than should.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.process import ROOT
from benchmarks.report import table, write_section
from components.example_gen.idx import read_idx
from models.features import FASHION_MNIST_CLASSES
from pipeline.output_root import OutputRoot

LATE_CLASS = FASHION_MNIST_CLASSES.index("Bag")
_DATE = "2026-09-{:02d}"
_PATTERN = "{YYYY}-{MM}-{DD}.v{VERSION}"
# A small network: what is shown is what the pipeline does.
_SETTINGS = ("preset=smoke", "split_limits=none,none,none", "floors.accuracy=0.6", "accuracy_tolerance=0.03")

Alter = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def inverted(images: np.ndarray, labels: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turns black to white."""
    return 255 - images, labels


def doubled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Doubles a class: each image of it again, with a little noise."""
    again = images[labels == 0]
    noisy = np.clip(again.astype(int) + rng.integers(-3, 4, again.shape), 0, 255).astype(np.uint8)
    return np.concatenate([images, noisy]), np.concatenate([labels, np.zeros(len(noisy), labels.dtype)])


def mislabelled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gives a tenth of the images the label of another."""
    wrong = rng.random(len(labels)) < 0.1
    known = np.unique(labels)
    shifted = known[(np.searchsorted(known, labels) + rng.integers(1, len(known), len(labels))) % len(known)]
    return images, np.where(wrong, shifted, labels)


def brighter(share: float) -> Alter:
    """Returns what makes the images brighter by a share."""
    return lambda images, labels, _: (np.clip(images * (1 + share), 0, 255).astype(np.uint8), labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrival:
    """A span that arrives: its day, its version, and what was done to it; a broken one lacks its last bytes."""

    day: int
    version: int = 1
    alter: Alter | None = None
    broken: bool = False
    late_class: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Night:
    """What happens before a night's run, how it is started, and what should come of it.

    Attributes:
      day: of the month.
      what: in words.
      arrives: spans.
      should: in words.
      status: exit status; -9 for a kill.
      trains: whether another model is trained.
      serves: whether another model is served in the morning; None where that is open.
      told: what a run of this night says, its gate or what it failed with.
      flags: of the command.
      kill: whether it is killed while it trains.
      rollback: whether what was served before is served again before it.
    """

    day: int
    what: str = "a usual span"
    arrives: tuple[Arrival, ...]
    should: str = "trained on, published"
    status: int = 0
    trains: bool = True
    serves: bool | None = True
    told: str = ""
    flags: tuple[str, ...] = ()
    kill: bool = False
    rollback: bool = False


def usual(day: int, **more) -> Night:
    """Returns a night with one span."""
    return Night(day=day, arrives=(Arrival(day=day, late_class=day > 21),), serves=more.pop("serves", None), **more)


def refused(day: int, what: str, alter: Alter, told: str, **more) -> Night:
    """Returns a night whose span the gate refuses."""
    return Night(
        day=day,
        what=what,
        arrives=(Arrival(day=day, alter=alter),),
        should="refused and set aside; served as before",
        status=3,
        trains=False,
        serves=False,
        told=told,
        **more,
    )


def scenario() -> list[Night]:
    """Returns the thirty nights."""
    drift = {
        day: usual(
            day,
            what=f"a drift: {4 * (day - 11)} % brighter than at first",
            should="trained on, and warned of" if day >= 14 else "trained on",
            told="warning: all splits: image: brightness" if day >= 14 else "",
        )
        for day in range(12, 19)
    }
    for day, night in drift.items():
        arrival = dataclasses.replace(night.arrives[0], alter=brighter(0.04 * (day - 11)))
        drift[day] = dataclasses.replace(night, arrives=(arrival,))
    special = {
        1: usual(1, what="the first span", told=""),
        3: Night(
            day=3,
            what="no data",
            arrives=(),
            should="nothing new, in seconds; with --span it would be an error",
            trains=False,
            serves=False,
        ),
        4: dataclasses.replace(
            usual(4, what="a usual span, and that of the night before, late", should="both taken up, trained on"),
            arrives=(Arrival(day=3), Arrival(day=4)),
        ),
        5: refused(5, "inverted images", inverted, "brightness"),
        6: refused(6, "a class doubled", doubled, "share of 'T-shirt/top'"),
        7: refused(7, "10 % wrong labels", mislabelled, "the served model agrees with"),
        8: dataclasses.replace(
            usual(8, what="a usual span, and night 7's corrected", should="both taken up, trained on"),
            arrives=(Arrival(day=7, version=2), Arrival(day=8)),
        ),
        9: Night(
            day=9,
            what="a broken file",
            arrives=(Arrival(day=9, broken=True),),
            should="told as unreadable, and set aside; served as before",
            status=2,
            trains=False,
            serves=False,
            told="the header promises",
        ),
        10: dataclasses.replace(
            usual(10, what="a usual span, and night 9's whole", should="both taken up, trained on"),
            arrives=(Arrival(day=9), Arrival(day=10)),
        ),
        11: dataclasses.replace(
            usual(11, what="a usual span; killed while it trains", should="nothing lost: taken up the next night"),
            status=-signal.SIGKILL,
            trains=False,
            serves=False,
            # Long enough to be met.
            flags=("--set", "training.epochs=30"),
            kill=True,
        ),
        **drift,
        19: usual(19, what="as bright as at first"),
        20: Night(
            day=20,
            what="a class that nobody knew",
            arrives=(Arrival(day=20, late_class=True),),
            should="refused and set aside; served as before",
            status=3,
            trains=False,
            serves=False,
            told="class: 'Bag' is new",
        ),
        21: dataclasses.replace(
            usual(21, what="a usual span; night 20's admitted by name", should="the new class is served", serves=True),
            arrives=(Arrival(day=21, late_class=True),),
            flags=("--admit", _DATE.format(20)),
        ),
        25: usual(25, what="a usual span, after a rollback by hand", rollback=True),
    }
    return [special.get(day) or usual(day) for day in range(1, 31)]


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
                subprocess.run([sys.executable, "-m", "pipeline.rollback", *self._of_root()], cwd=ROOT, check=True)
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
                disk_mib=_disk_mib(self.root.path),
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
        folder = self._incoming / f"{_DATE.format(arrival.day)}.v{arrival.version}"
        # As whoever delivers should: whole, under its name, at once.
        partial = self._incoming / f".{folder.name}.partial"
        partial.mkdir()
        for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
            content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
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
    if night.told and not any(night.told in line for run in runs for line in _told(run)):
        yield f"not told: {night.told}"


def _told(run: dict) -> list[str]:
    failure = [run["failure"]["message"]] if run["failure"] else []
    return [reason for gate in run["gates"].values() for reason in gate["reasons"]] + failure


def _disk_mib(folder: Path) -> float:
    """Returns what a folder takes on the disk; what has two names, once."""
    sizes = {
        (found.st_dev, found.st_ino): found.st_blocks * 512 for path in folder.rglob("*") if (found := path.lstat())
    }
    return sum(sizes.values()) / 2**20


def describe(mornings: list[Morning]) -> str:
    """Returns the table of the nights."""
    rows = [
        [
            morning.night.day,
            morning.night.what,
            morning.night.should,
            _did(morning),
            morning.status,
            _percent(morning.accuracy),
            f"{morning.disk_mib:.0f}",
            f"{morning.seconds:.0f}",
        ]
        for morning in mornings
    ]
    header = ["night", "what arrives or happens", "should be", "was", "status", "served", "disk, MiB", "seconds"]
    return table(header, rows)


def compare(anew: list[Morning], warm: list[Morning]) -> str:
    """Returns the table of nights that trained anew beside the same ones that began with the served model."""
    rows = [
        [one.night.day, *(_percent(_accuracy(side)) for side in pair), *(f"{_training(side):.1f}" for side in pair)]
        for one, other in zip(anew, warm, strict=True)
        for pair in [(one, other)]
    ]
    # The first has nothing to begin with.
    means = [
        [statistics.mean(figure(morning) for morning in side[1:]) for side in (anew, warm)]
        for figure in (_accuracy, _training)
    ]
    rows.append(["mean of 2 and later", *map(_percent, means[0]), *(f"{mean:.1f}" for mean in means[1])])
    header = ["night", "test accuracy, anew", "warm start", "training, s, anew", "warm start"]
    return table(header, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _accuracy(morning: Morning) -> float:
    return morning.runs[-1]["metrics"]["test_accuracy"]


def _training(morning: Morning) -> float:
    return next(node["seconds"] for node in morning.runs[-1]["nodes"] if node["id"] == "Trainer")


def _did(morning: Morning) -> str:
    told = []
    for run in morning.runs:
        name = run["span"]["name"] if run["span"] else ""
        if run["state"] in ("data refused", "failed"):
            reason = next(
                (line for line in _told(run) if line.startswith("error")), _told(run)[0] if _told(run) else ""
            )
            told.append(f"{name} {run['state']}: {reason.removeprefix('error: ')}")
        elif run["window"]:
            window = run["window"]
            told.append(f"trained on {len(window)} spans, {run['push'] or run['state']}")
    told += [f"ODD: {line}" for line in morning.odd]
    return "; ".join(told) or ("killed" if morning.status < 0 else "nothing new")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 where a night was otherwise than it should be."""
    parser = argparse.ArgumentParser(prog="make nights", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--output-root", type=Path, help="for what arrives and what comes of it")
    parser.add_argument("--nights", type=int, default=30, metavar="N", help="how many (30)")
    parser.add_argument("--window", type=int, default=8, metavar="N", help="how many spans are trained on (8)")
    parser.add_argument("--warm-start", action="store_true", help="usual nights only, trained anew and by a warm start")
    parser.add_argument("--page", type=Path, help="file with a section for the table, such as docs/every-night.md")
    arguments = parser.parse_args(argv)
    flags = ("--window", str(arguments.window), "--set", "kept_runs=5")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.output_root or Path(scratch, "nights")
        if arguments.warm_start:
            nights = [usual(day) for day in range(1, arguments.nights + 1)]
            sides = {"anew": flags, "warm": (*flags, "--set", "training.warm_start=true")}
            played = {name: _play(nights, folder / name, own) for name, own in sides.items()}
            name, title, body = "warm-start", "Warm start", compare(*played.values())
            mornings = [morning for side in played.values() for morning in side]
        else:
            mornings = _play(scenario()[: arguments.nights], folder, flags)
            name, title, body = "nights", "What happened", describe(mornings)
    print(body)
    if arguments.page:
        more = [word for word in (argv or sys.argv[1:]) if word == "--warm-start"]
        command = "make nights" + (f' ARGS="{more[0]} --nights {arguments.nights}"' if more else "")
        write_section(arguments.page, name, title, body, command)
    return int(any(morning.odd for morning in mornings))


def _play(nights: list[Night], folder: Path, flags: tuple[str, ...]) -> list[Morning]:
    mornings = []
    for morning in Nights(folder, flags=flags).play(nights):
        mornings.append(morning)
        print(f"{morning.night.day:>2} {morning.night.what}: status {morning.status}, {_did(morning)}", flush=True)
    return mornings


if __name__ == "__main__":
    sys.exit(main())
