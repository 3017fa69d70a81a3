"""The folder that everything a run makes lies in: the one place that knows its layout, and its lock.

    metadata.db                 ML Metadata, sqlite; or metadata.toml, which names a shared database
    metrics.prom                how it stands, for Prometheus
    artifacts/<node>/<key>/<n>  what each execution put out; TFX's layout
    checkpoints/                of trainings that were interrupted
    trials/                     what each trial of a search or a sweep gave, and states of interrupted ones
    serving/<name>/<version>    published models; `served` leads to the one that is served
    sweeps/                     pages and tables of sweeps
    runs/<run id>/              summary.json, report.html, log.txt
    index.html                  all runs at a glance
    tensorboard/<run id>        a link to the logs of the training of that run; `<run id>.trials` of its search

Synopsis:

    root = OutputRoot("output")
    run = root.make_run("20261123-200513-360")
    with root.lock("Wait for it."):
        run.summary.write_text("{}")
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.errors import BusyError, InputError
from components.places import ARTIFACTS, DATABASE, DATABASE_ELSEWHERE
from components.trainer.logs import remove_dead
from models.host import NoLocksError, take_lock

DEFAULT = Path("output")
# A reader asks for the lock for a moment to see whether a run goes on; a run that begins then waits for as long.
_PATIENCE_SECONDS = 0.3


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    folder: Path

    @property
    def summary(self) -> Path:
        """What a script reads."""
        return self.folder / "summary.json"

    @property
    def report(self) -> Path:
        """What a person reads."""
        return self.folder / "report.html"

    @property
    def log(self) -> Path:
        """Everything that was said."""
        return self.folder / "log.txt"


class OutputRoot:
    """Paths below an output root, and its lock; nothing is made before it is asked for."""

    def __init__(self, path: Path | str = DEFAULT) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def of_database(cls, path: Path | str) -> "OutputRoot":
        """Returns the output root that a database of ML Metadata lies in."""
        return cls(Path(path).parent)

    @property
    def metadata(self) -> Path:
        """The sqlite database of ML Metadata, or the file that names a shared one in its place."""
        elsewhere = self.metadata_elsewhere
        return elsewhere if elsewhere.exists() else self.path / DATABASE

    @property
    def metadata_elsewhere(self) -> Path:
        """What names a shared database, where the runs are in one."""
        return self.path / DATABASE_ELSEWHERE

    @property
    def metrics(self) -> Path:
        """What node_exporter's textfile collector reads."""
        return self.path / "metrics.prom"

    @property
    def artifacts(self) -> Path:
        """Where TFX keeps the outputs of each node."""
        return self.path / ARTIFACTS

    @property
    def checkpoints(self) -> Path:
        """Where an interrupted training leaves its state."""
        return self.path / "checkpoints"

    @property
    def trials(self) -> Path:
        """What the trials of searches and sweeps gave, by what decides it."""
        return self.path / "trials"

    @property
    def sweeps(self) -> Path:
        """Where sweeps leave their pages, tables and log."""
        return self.path / "sweeps"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard is pointed to: the logs of each training under the id of the run that it was in."""
        return self.path / "tensorboard"

    @property
    def index(self) -> Path:
        """The page of all runs."""
        return self.path / "index.html"

    def bytes_on_disk(self) -> int:
        """Returns what all files take, each once, whatever links lead to it; what goes meanwhile counts for nothing."""
        total, seen, waiting = 0, set(), [self.path]
        while waiting:
            # Others may delete while this looks.
            with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(Path(entry.path))
                        elif (found := entry.stat(follow_symlinks=False)).st_ino not in seen:
                            total += found.st_blocks * 512
                            # A file without another name needs no memory of it.
                            if found.st_nlink > 1:
                                seen.add(found.st_ino)
        return total

    def remove_dead_links(self) -> None:
        """Removes what leads to logs that are gone."""
        remove_dead(self.tensorboard)

    @property
    def serving_root(self) -> Path:
        """Where published models lie, a folder for each name."""
        return self.path / "serving"

    def serving(self, name: str) -> Path:
        """The folder of published models of that name, which a model server watches."""
        return self.serving_root / name

    def version(self, place: str) -> Path:
        """Where a model is by now that was published at `place`: the root may have been moved, or copied, since."""
        here = self.serving_root.joinpath(*Path(place).parts[-2:])
        return here if os.path.lexists(here) else Path(place)

    def serving_folders(self) -> list[Path]:
        """All folders of published models, by name."""
        return sorted(path for path in self.serving_root.glob("*") if path.is_dir())

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / "runs" / run_id)

    def unrecorded_runs(self) -> Iterator[RunFolder]:
        """Yields the folders of runs that have said something and recorded nothing: killed, or at their beginning."""
        for log in self.path.glob("runs/*/log.txt"):
            run = RunFolder(log.parent)
            if not run.summary.exists():
                yield run

    def make_run(self, run_id: str) -> RunFolder:
        """Makes the folder of a run, and the output root if need be.

        Raises:
          InputError: it cannot be written.
        """
        made = self.run(run_id)
        with writing(self.path, "Choose another --output-root."):
            made.folder.mkdir(parents=True)
        return made

    def moved(self, outputs: Iterable[tuple[int, str]]) -> dict[int, str]:
        """Returns where outputs lie by now that were put elsewhere, if they are here: the root was moved, or copied.

        Args:
          outputs: the number of each, and where it was put: `<node>/<key>/<number>` below the artifacts of a root.
        """
        home, found = str(self.artifacts.resolve()), {}
        for number, place in outputs:
            inside = place.rsplit("/", 3)[1:]
            if not place.startswith(f"{home}/") and len(inside) == 3:
                here = self.artifacts.resolve().joinpath(*inside)
                found |= {number: str(here)} if os.path.lexists(here) else {}
        return found

    def output_folders(self) -> list[Path]:
        """Returns the folder of each output of each execution, `<node>/<key>/<number>`."""
        return sorted(self.artifacts.resolve().glob("[!.]*/[!.]*/*"))

    def output_folders_of(self, execution_id: int) -> Iterator[Path]:
        """Yields the folders that an execution wrote or would have written to."""
        yield from self.artifacts.glob(f"*/*/{execution_id}")
        yield from self.artifacts.glob(f"*/.system/executor_execution/{execution_id}")

    def training_states(self) -> list[Path]:
        """Returns what interrupted trainings and trials left to be taken up again from."""
        return sorted(path for folder in (self.checkpoints, self.trials) for path in folder.glob("[!.]*.npz"))

    def half_written(self) -> Iterator[Path]:
        """Yields what only a run that goes on may have: temporary files of writers, and TFX's working folders."""
        for folder, kept in ((self.checkpoints, {".npz"}), (self.trials, {".npz", ".json"})):
            yield from (path for path in folder.glob("*") if path.suffix not in kept or path.name.startswith("."))
        yield from self.path.glob("runs/*/.*.partial")
        yield from self.path.glob(".*.partial")
        yield from self.artifacts.glob("*/.system/stateful_working_dir/*")
        yield from self.artifacts.glob("*/.system/executor_execution/*")

    @contextlib.contextmanager
    def lock(self, advice: str) -> Iterator[None]:
        """Keeps other writers out; readers need no lock.

        Args:
          advice: what to do while another has it.

        Raises:
          BusyError: another has it.
          InputError: the folder cannot be written, or its file system has no locks.
        """
        with writing(self.path, "Choose another --output-root."):
            stream = self._lock_file.open("w")
        with stream:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            try:
                while not take_lock(stream.fileno()):
                    if time.monotonic() > deadline:
                        raise BusyError(f"{self}: another run is using it. {advice}")
                    time.sleep(_PATIENCE_SECONDS / 10)
            except NoLocksError as error:
                raise InputError(
                    f"{self}: expected a file system with locks, found one without ({error.strerror}): two runs there, "
                    "and sqlite, would harm each other's files. Choose an --output-root on another disk."
                ) from None
            yield

    def is_in_use(self) -> bool:
        """Says whether a run, or another writer, has the lock now."""
        try:
            with self._lock_file.open() as stream:
                return not take_lock(stream.fileno(), shared=True)
        except OSError:
            return False

    @property
    def _lock_file(self) -> Path:
        return self.path / ".lock"


@contextlib.contextmanager
def writing(place: Path | str, advice: str = "Free some space or mend its permissions, and repeat.") -> Iterator[None]:
    """Has a failure to write in the block told in a line.

    Args:
      place: what is written.
      advice: what to do if it cannot be.

    Raises:
      InputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror or error}). {advice}") from error


def training_logs(uri: str, run_id: str | None) -> str:
    """Returns where TensorBoard finds a training: the link of its run or, where there is none, the artifact.

    Args:
      uri: of the artifact, `artifacts/<node>/<key>/<number>` below the output root.
      run_id: of the run that trained, if it is known.
    """
    link = OutputRoot(Path(uri).parents[3]).tensorboard / (run_id or "")
    return str(link) if run_id and link.exists() else uri
