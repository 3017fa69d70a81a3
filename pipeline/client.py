"""What a notebook or a script asks about the runs in an output root, without TensorFlow.

Whatever a run has not made is None: after a part of the pipeline, or a failure, the rest can be looked at all the same.

Synopsis:

    client = Client("output")
    run = client.run()                              # the latest
    run.summary["metrics"]["test_accuracy"]         # as in summary.json
    run.examples.class_names                        # models.examples.Examples
    run.statistics["train"].num_examples            # TFDV's, by split
    run.predictions.right.mean()                    # of the test split
    run.model                                       # folder of the SavedModel that it trained
    client.served("fashion_mnist")                  # folder of the one that is served now
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import InputError
from components.prediction_columns import PREDICTIONS_FILE
from components.pusher.history import served_version
from components.pusher.serving_folder import SERVED
from models.examples import Examples, ExamplesError, split_folder
from models.features import SPLITS, STATISTICS_FILE
from pipeline.metadata import runs
from pipeline.metadata.artifacts import RunArtifacts
from pipeline.metadata.store import Run, Store
from pipeline.output_root import DEFAULT, OutputRoot

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from pipeline.report.predictions import Predictions


class RunView:
    """One run.

    Attributes:
      id: its id.
      summary: its record, as summary.json has it; {} for a run of another runner of TFX's.
    """

    def __init__(self, store: Store, run: Run) -> None:
        self.id, self.summary = run.id, run.record
        self._artifacts = RunArtifacts(store, run)

    @functools.cached_property
    def examples(self) -> Examples | None:
        """The examples that it wrote or read."""
        folder = self._artifacts.folder("Examples")
        try:
            return Examples.open(folder, self._artifacts.properties("Examples")) if folder else None
        except ExamplesError:
            # Another version of this project wrote them.
            return None

    @functools.cached_property
    def statistics(self) -> "dict[str, statistics_pb2.DatasetFeatureStatistics] | None":
        """TFDV's statistics of each split of the examples."""
        folder = self._artifacts.folder("ExampleStatistics")
        if folder is None:
            return None
        from tensorflow_metadata.proto.v0 import statistics_pb2

        files = {split: split_folder(folder, split) / STATISTICS_FILE for split in SPLITS}
        lists = {
            split: statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
            for split, path in files.items()
            if path.is_file()
        }
        return {split: found.datasets[0] for split, found in lists.items()}

    @functools.cached_property
    def predictions(self) -> "Predictions | None":
        """What the model predicted for the test split."""
        folder = self._artifacts.folder("Predictions")
        if folder is None or not (folder / PREDICTIONS_FILE).is_file():
            return None
        from pipeline.report.predictions import read_predictions

        return read_predictions(folder / PREDICTIONS_FILE, list(self.examples.class_names) if self.examples else [])

    @property
    def model(self) -> Path | None:
        """The folder of the SavedModel that it made, whether it was blessed or not."""
        folder = self._artifacts.folder("Model")
        return next((path.parent for path in folder.glob("*/saved_model.pb")), None) if folder else None


class Client:
    """The runs in an output root, and the models that were published there.

    Raises:
      InputError: there is no database of ML Metadata.
    """

    def __init__(self, output_root: Path | str = DEFAULT) -> None:
        self._root = OutputRoot(output_root)
        # Told here, and not at the first question.
        Store(self._root.metadata)

    @property
    def _store(self) -> Store:
        # As it is now: of a shared database a store shows what there was when it was opened.
        return Store(self._root.metadata)

    def runs(self) -> list[dict]:
        """Returns a line for each run, the latest first: what `python -m pipeline.metadata runs` shows."""
        return runs.list_runs(self._store)

    def run(self, text: str = "latest") -> RunView:
        """Returns the run that "latest", an id or the beginning of one names.

        Raises:
          InputError: there is none, or more than one.
        """
        store = self._store
        return RunView(store, store.find_run(text))

    def served(self, name: str) -> Path:
        """Returns the folder of the SavedModel that is served under a name now; the path stays, the version changes.

        Raises:
          InputError: nothing was published under that name.
        """
        base = self._root.serving(name)
        version = served_version(base)
        if version is None:
            names = ", ".join(folder.name for folder in self._root.serving_folders()) or "none"
            raise InputError(f"{base}: expected a served model, found none; there are {names}.")
        # A folder that another program filled has no such link.
        return base / SERVED if (base / SERVED).exists() else base / str(version)
