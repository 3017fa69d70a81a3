"""What stays on the disk night after night, on databases that ML Metadata wrote; oracles by hand."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from benchmarks.recorded_runs import RecordedRuns
from components.properties import ASKED_MODEL, EXAMPLES_ID, SPAN_NUMBER, SPAN_VERSION
from pipeline.metadata import garbage
from pipeline.metadata.garbage import clear
from pipeline.metadata.lineage import trace
from pipeline.metadata.retention import Stays, baselines, kept_runs, latest_runs, span_data, what_stays
from pipeline.metadata.store import Artifact, Run, Store
from pipeline.output_root import OutputRoot
from pipeline.run.publications import record_publications
from pipeline.run.telling import clear_if_possible

NIGHTS = 30
KEPT_RUNS, KEPT_VERSIONS = 3, 2


def night(number: int) -> str:
    return f"202601{number:02d}-030000-000"


def run(number: int, name: str = "fashion_mnist", **settings) -> Run:
    properties = {"published_as": name, "settings": settings}
    return Run(number=number, id=night(number), started=1000 * number, properties=properties)


def live(store: Store) -> set[int]:
    """Returns the artifacts that are there."""
    return {number for number, artifact in store.artifacts.items() if artifact.state == "live"}


def folders(root: OutputRoot) -> int:
    return len(root.output_folders())


class Nights:
    """Runs on new data each, on one output root, with what a push prunes and a run clears."""

    def __init__(self, output: Path) -> None:
        self.runs, self.root = RecordedRuns(output), OutputRoot(output)
        self.settings = {"seed": 1, "kept_runs": KEPT_RUNS}
        self.count = 0

    def add(self, *, cleared: bool = True, **more) -> str:
        self.count += 1
        run_id = night(self.count)
        self.runs.add(run_id, **{"changed": "ExampleGen", "settings": self.settings, **more})
        folder = self.root.run(run_id)
        folder.folder.mkdir(parents=True, exist_ok=True)
        for path in (folder.log, folder.report, folder.summary):
            path.write_text("told")
        for version in sorted(self.root.serving("fashion_mnist").glob("*"))[:-KEPT_VERSIONS]:
            shutil.rmtree(version)
        if cleared:
            clear(self.root, unknown=False)
        return run_id

    @property
    def store(self) -> Store:
        return Store(self.root.metadata)

    def model(self, run_id: str) -> int:
        return self.runs.artifacts[run_id]["Exporter.model"]


@pytest.fixture
def nights(tmp_path) -> Nights:
    return Nights(tmp_path / "output")


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Nights:
    """Thirty nights, of which each fourth's model was not blessed and the seventh's and the last's nodes failed."""
    month = Nights(tmp_path_factory.mktemp("month") / "output")
    month.disk = []
    for number in range(1, NIGHTS + 1):
        failed = "Trainer" if number in (7, NIGHTS) else ""
        month.add(blessed=number % 4 != 0, failed=failed)
        month.disk.append(folders(month.root))
    return month


@pytest.mark.slow
def test_disk_stays_flat_over_thirty_nights(month):
    assert max(month.disk[9:]) <= max(month.disk[:10])
    # Without, it would be all that thirty nights made.
    assert month.disk[-1] < NIGHTS * month.disk[0] / 3


@pytest.mark.slow
def test_old_blessed_models_go_and_what_is_served_latest_or_compared_with_stays(month):
    exported = {made["Exporter.model"] for made in month.runs.artifacts.values()}
    # The last run failed before its Exporter. 28 is one of the last three runs, the versions are of 27 and 29, and 27
    # was compared with 26.
    assert exported & live(month.store) == {month.model(night(number)) for number in (26, 27, 28, 29)}


@pytest.mark.slow
def test_all_that_a_version_in_the_serving_folder_was_made_of_stays(month):
    store = month.store
    places = store.property_of_all("Artifact", "pushed_destination")
    shown = [number for number, place in places.items() if place and Path(place).exists()]
    assert len(shown) == KEPT_VERSIONS
    for number in shown:
        edges = trace(store, store.artifacts[number], down=False).edges
        made_of = {edge.artifact for edge in edges if not edge.compared}
        assert {store.artifacts[other].type for other in made_of} >= {"Examples", "Model", "TransformGraph"}
        assert made_of <= live(store)
        assert all(Path(store.artifacts[other].uri).exists() for other in made_of)


@pytest.mark.slow
def test_of_an_old_run_its_folder_goes_and_its_record_stays(month):
    kept = {night(number) for number in (27, 28, 29, 30)}
    for run_id in map(night, range(1, NIGHTS + 1)):
        folder = month.root.run(run_id)
        assert month.store.find_run(run_id).record["run_id"] == run_id
        if run_id in kept:
            assert folder.log.exists()
        elif run_id < night(26):
            assert not folder.folder.exists()


@pytest.mark.slow
def test_what_comes_again_is_compared_with_the_model_before_it(nights):
    first, second = nights.add(), nights.add()
    for _ in range(KEPT_RUNS):
        nights.add(blessed=False)
    # The second is served. Made again, it is compared with the first; a new one with the second.
    assert {nights.model(first), nights.model(second)} <= live(nights.store)
    evaluations = {nights.runs.artifacts[run_id]["Evaluator.blessing"] for run_id in (first, second)}
    assert evaluations <= live(nights.store)


@pytest.mark.slow
def test_model_that_a_training_began_with_stays_and_those_that_it_had_begun_with_itself_go(nights):
    for _ in range(KEPT_RUNS + 4):
        run_id = nights.add(cleared=False)
        begun_with = nights.runs.artifacts[run_id].get("BlessedModel.subject")
        if begun_with:
            event = mlmd.Event(
                artifact_id=begun_with, execution_id=nights.runs.executions[run_id]["Trainer"], type=mlmd.Event.INPUT
            )
            event.path.steps.add().key = "base_model"
            nights.runs.store.put_events([event])
    clear(nights.root, unknown=False)
    there = live(nights.store)
    # Of the runs 5, 6 and 7 the first began with the model of the fourth.
    assert [nights.model(night(number)) in there for number in range(1, 8)] == [False] * 3 + [True] * 4


@pytest.mark.slow
def test_model_that_the_gate_asked_about_a_span_goes_though_the_span_stays(nights):
    nights.add(span=1)
    span = nights.add(span=2, cleared=False)
    asked = nights.runs.artifacts[span]["BlessedModel.subject"]
    event = mlmd.Event(artifact_id=asked, execution_id=nights.runs.executions[span]["DataGate"], type=mlmd.Event.INPUT)
    event.path.steps.add().key = ASKED_MODEL
    nights.runs.store.put_events([event])
    for _ in range(KEPT_RUNS + KEPT_VERSIONS):
        nights.add()
    assert nights.runs.artifacts[span]["ExampleGen.examples"] in live(nights.store)
    assert asked not in live(nights.store)


@pytest.mark.slow
def test_model_that_was_held_back_stays_however_many_runs_came_since(nights):
    nights.add()
    held = nights.add()
    # As --no-push: the version was never there.
    shutil.rmtree(max(nights.root.serving("fashion_mnist").iterdir()))
    for _ in range(KEPT_RUNS):
        nights.add(blessed=False)
    assert nights.model(held) in live(nights.store)


@pytest.mark.slow
def test_served_model_is_known_as_that_where_a_rollback_before_it_was_recorded_later(tmp_path):
    """Else nothing would be kept that it is compared with when it is made again."""
    runs, root = RecordedRuns(tmp_path), OutputRoot(tmp_path)
    for number in (1, 2, 3):
        runs.add(night(number), changed="Trainer")
    base = root.serving("fashion_mnist")
    first, second, third = sorted(base.iterdir())
    (base / str(int(second.name) + 1)).symlink_to(first.name)
    assert int(second.name) + 1 < int(third.name)
    assert len(record_publications(runs.store, root)) == 1
    assert runs.artifacts[night(2)]["Exporter.model"] in baselines(Store(root.metadata), root)


@pytest.mark.slow
def test_newest_version_of_each_span_stays_however_old_and_a_refused_one_replaces_none(nights):
    def examples(run_id: str) -> int:
        return nights.runs.artifacts[run_id]["ExampleGen.examples"]

    first = nights.add(span=1)
    corrected = nights.add(span=2)
    corrected_again = nights.add(span=2)
    third = nights.add(span=3)
    refused = nights.add(span=3, failed="DataGate")
    plain = nights.add()
    for _ in range(KEPT_RUNS + 1):
        nights.add()
    there = live(nights.store)
    assert {examples(first), examples(corrected_again), examples(third)} <= there
    statistics = {nights.runs.artifacts[run_id]["StatisticsGen.statistics"] for run_id in (first, third)}
    assert statistics <= there
    assert not {examples(corrected), examples(refused), examples(plain)} & there
    # Their models went with the nights.
    assert nights.model(first) not in there


class Spans:
    """A database of spans that passed, each taken up by a run of its own, as far as `span_data` asks it."""

    def __init__(self, runs: list[tuple[int, int | None, list[int]]], kept_runs: int = 1):
        """Takes of each run its span, its setting `window` and the spans that it trained on."""
        ids = range(1, len(runs) + 1)
        self.artifacts = {
            number: Artifact(id=number, type="", uri="", state="live", created=0)
            for of in ids
            for number in (of, 100 + of, 200 + of)
        }
        self.executions = {of: SimpleNamespace(run=f"r{of}", pipeline="in-spans") for of in ids}
        self.producers = {of: of for of in ids}
        self._runs = [
            SimpleNamespace(
                id=f"r{of}",
                properties={
                    "settings": {"window": window, "kept_runs": kept_runs},
                    "window": [{"number": n} for n in trained],
                },
            )
            for of, (_, window, trained) in zip(ids, runs, strict=True)
        ]
        self._properties = {
            SPAN_NUMBER: {of: span for of, (span, _, _) in zip(ids, runs, strict=True)},
            SPAN_VERSION: dict.fromkeys(ids, 0),
            EXAMPLES_ID: {of: 100 + of for of in ids},
            "current_statistics_id": {of: 200 + of for of in ids},
            "blessed": dict.fromkeys(ids, 1),
        }

    def runs(self):
        return self._runs

    def property_of_all(self, _, name):
        return self._properties[name]

    def kept(self) -> list[int]:
        return sorted(self._properties[SPAN_NUMBER][number] for number in span_data(self) if number < 100)


def test_spans_stay_back_to_the_last_window_and_older_ones_go():
    assert Spans([(1, 2, [1]), (2, 2, [1, 2]), (3, 2, [2, 3])]).kept() == [2, 3]


def test_one_night_with_a_narrow_window_takes_no_span_away():
    nights = [(1, 3, [1]), (2, 3, [1, 2]), (3, 3, [1, 2, 3]), (4, 1, [4])]
    assert Spans(nights, kept_runs=2).kept() == [1, 2, 3, 4]
    assert Spans([*nights, (5, 1, [5])], kept_runs=2).kept() == [4, 5]


def test_older_spans_that_are_taken_up_for_a_wider_window_stay_until_it_is_trained_on():
    """Else each run of the night clears what the one before it took up, and the next night begins anew."""
    before = [(4, 1, [4])]
    assert Spans([*before, (1, None, []), (2, None, []), (3, None, [])]).kept() == [1, 2, 3, 4]
    assert Spans([*before, (1, 3, []), (2, 3, []), (3, 3, [])]).kept() == [2, 3, 4]
    # Narrower again: what the last window held stays until another is trained on.
    nights = [(1, 3, []), (2, 3, []), (3, 3, [1, 2, 3]), (4, 1, [])]
    assert Spans(nights, kept_runs=2).kept() == [1, 2, 3, 4]


def test_of_examples_that_were_blessed_again_the_first_blessing_stays():
    """It is what later spans are compared with."""
    spans = Spans([(1, None, [1]), (1, None, [1])])
    spans._properties[EXAMPLES_ID][2] = 101
    assert span_data(spans) == {1, 101, 201}


@pytest.mark.slow
def test_kill_in_the_middle_leaves_nothing_half_deleted_that_counts_as_there_and_the_rest_goes_next_time(
    nights, monkeypatch
):
    for _ in range(KEPT_RUNS + 4):
        nights.add(cleared=False)
    doomed = [Path(item["path"]) for item in garbage.find(nights.store, nights.root)["items"]]
    real, deleted = shutil.rmtree, []

    def killed(path, *arguments, **options) -> None:
        if len(deleted) == 3:
            raise KeyboardInterrupt
        deleted.append(path)
        real(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        clear(nights.root, unknown=False)
    monkeypatch.undo()
    store = nights.store
    assert all(Path(store.artifacts[number].uri).exists() for number in live(store))
    assert sum(path.exists() for path in doomed) == len(doomed) - 3
    clear(nights.root, unknown=False)
    assert not any(path.exists() for path in doomed)


@pytest.mark.slow
def test_folder_that_ml_metadata_never_heard_of_goes_by_command_alone(nights):
    nights.add()
    nights.add(failed="Trainer")
    foreign = nights.root.artifacts / "Trainer" / "model" / "9999"
    left = foreign.with_name(str(nights.runs.executions[night(2)]["Trainer"]))
    for folder in (foreign, left):
        folder.mkdir()
    clear(nights.root, unknown=False)
    assert foreign.exists()
    assert not left.exists()
    clear(nights.root)
    assert not foreign.exists()


@pytest.mark.slow
def test_states_of_trainings_that_none_of_the_latest_runs_left_go(nights):
    nights.root.checkpoints.mkdir(parents=True)
    nights.root.trials.mkdir()
    abandoned = [nights.root.checkpoints / "old.npz", nights.root.trials / "old.npz"]
    kept = [nights.root.checkpoints / "new.npz", nights.root.trials / "old.json"]
    for path in (*abandoned, *kept):
        path.write_bytes(b"state")
    for path in (*abandoned, kept[1]):
        os.utime(path, (0, 0))
    for _ in range(KEPT_RUNS):
        nights.add()
    assert all(path.exists() for path in abandoned)
    kept[0].write_bytes(b"of an interrupted training")
    nights.add()
    assert not any(path.exists() for path in abandoned)
    # What a trial gave is an answer, no left-over.
    assert all(path.exists() for path in kept)


def test_state_that_a_training_takes_away_while_gc_looks_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(OutputRoot, "training_states", lambda root: [root.checkpoints / "gone.npz"])
    stays = Stays(artifacts=set(), runs=set(), since=1)
    assert list(garbage._left_by_trainings(OutputRoot(tmp_path), stays)) == []


@pytest.mark.slow
def test_run_that_goes_on_keeps_all_that_it_reads_whatever_is_counted(nights):
    run_id = nights.add()
    with contextlib.closing(sqlite3.connect(nights.root.metadata)) as connection:
        connection.execute("UPDATE Execution SET last_known_state = 2 WHERE id = (SELECT min(id) FROM Execution)")
        connection.commit()
    stays = what_stays(nights.store, nights.root, keep=0)
    assert set(nights.runs.artifacts[run_id].values()) <= stays.artifacts
    assert run_id in stays.runs


@pytest.mark.slow
def test_failure_to_delete_is_told_in_one_line_the_rest_goes_and_nothing_is_raised(nights, monkeypatch):
    for _ in range(KEPT_RUNS + 3):
        nights.add(cleared=False)
    real, refused = shutil.rmtree, []

    def refuse_first(path, *arguments, **options) -> None:
        if not refused:
            refused.append(path)
            raise PermissionError(13, "Permission denied", str(path))
        real(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", refuse_first)
    told = Told()
    clear_if_possible(nights.root, told)
    (line,) = told.errors
    assert line == f"retention: {refused[0]}: cannot be deleted (Permission denied). Mend the permissions and repeat."
    assert told.ends == []
    items = garbage.find(nights.store, nights.root)["items"]
    assert [item["path"] for item in items] == [str(refused[0])]
    monkeypatch.undo()
    clear_if_possible(nights.root, told)
    ((node, detail),) = told.ends
    assert (node, detail) == ("retention", "1 folder, 10 B of superseded runs deleted")
    clear_if_possible(nights.root, told)
    assert len(told.ends) == 1


class Told:
    """What a console was asked to tell."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.ends: list[tuple[str, str]] = []

    def start(self, node: str) -> None:
        pass

    def end(self, node: str, state: str, seconds: float, detail: str) -> None:
        self.ends.append((node, detail))

    def error(self, text: str) -> None:
        self.errors.append(text)


def test_each_name_keeps_as_many_of_its_runs_as_its_latest_says():
    runs = [run(number, kept_runs=5) for number in range(1, 4)] + [run(4, kept_runs=2)]
    runs += [run(number, name="fashion_mnist.smoke") for number in range(5, 19)]
    assert kept_runs(runs) == {"fashion_mnist": 2, "fashion_mnist.smoke": 10}
    smoke = {night(number) for number in range(9, 19)}
    assert latest_runs(runs) == {night(3), night(4)} | smoke
    assert latest_runs(runs, 1) == {night(4), night(18)}


def test_all_runs_stay_where_the_setting_says_none():
    runs = [run(number, kept_runs=None) for number in range(1, 25)]
    assert latest_runs(runs) == {found.id for found in runs}
    assert latest_runs(runs, 0) == set()
