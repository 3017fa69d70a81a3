"""What the report is made of: measuring predictions, pictures, gates; test_report.py looks at the page."""

import base64
import dataclasses
import errno
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from PIL import Image

from components.errors import InputError
from models.examples import Examples
from pipeline.metadata.served import served_run
from pipeline.metadata.store import Run
from pipeline.output_root import OutputRoot
from pipeline.report import plots
from pipeline.report import predictions as measured
from pipeline.report import render as rendering
from pipeline.report.__main__ import main
from pipeline.report.collect import (
    PIXEL_BYTES,
    Facts,
    Node,
    SplitStatistics,
    _pictures_of,
    _samples,
    cell_limit,
)
from pipeline.report.dag import _around, direct_reads, draw, layers
from pipeline.report.formats import counted, figure, percent, seconds
from pipeline.report.images import LARGEST_SIDE, Sprite
from pipeline.report.predictions import Predictions
from pipeline.report.render import render
from pipeline.report.search import search
from pipeline.report.sections import class_counts, compare, gates, headline
from pipeline.run.outcome import INTERRUPTED, NODE_CACHED, NODE_FAILED, NODE_SKIPPED, RUNNING, WAITING


@pytest.fixture
def predictions() -> Predictions:
    """Six predictions of two classes: four right, two wrong."""
    return Predictions(
        example=np.array([0, 1, 2, 3, 4, 5]),
        label=np.array([0, 0, 0, 1, 1, 1]),
        prediction=np.array([0, 1, 0, 1, 0, 1]),
        confidence=np.array([0.9, 0.7, 0.6, 1.0, 0.8, 0.55], np.float32),
        slices={"brightness": np.array(["dark", "dark", "bright", "dark", "bright", "bright"], object)},
        class_names=["cat", "<dog>"],
    )


def facts(summary: dict | None = None, **changes: object) -> Facts:
    """A run of which nothing is known, but for `changes`."""
    nothing = {
        "run": Run(number=1, id="20260101-120000-000", started=1_767_268_800_000, properties={}),
        "summary": summary or {},
        "nodes": [],
        "class_names": [],
        "predictions": None,
        "cell_images": 20,
        "pictures": {},
        "samples": {},
        "statistics": [],
        "anomalies": [],
        "others": {},
    }
    return Facts(**{**nothing, **changes})


# search


TRIALS = [
    {
        "trial": str(number),
        "values": {"learning_rate": rate, "network.widths": widths, "batch_size": 250},
        "val_accuracy": accuracy,
        "curve": curve,
        "stopped": len(curve) < 3,
        "seconds": 10.0,
    }
    for number, rate, widths, accuracy, curve in (
        (0, 0.1, "32,64", 0.93, [0.8, 0.9, 0.93]),
        (1, 0.3, "16,32", 0.7, [0.6, 0.7]),
        (2, 0.05, "32,64", 0.94, [0.7, 0.9, 0.94]),
    )
]


def test_search_is_told_the_best_first_by_the_values_that_were_varied():
    tuner = Node(id="Tuner", state="ran", seconds=16.0)
    found = search(facts({"search": {"best": TRIALS[2]["values"], "trials": TRIALS}}, nodes=[tuner]))
    assert found["names"] == ["learning_rate", "network.widths"]
    assert [(row["trial"], row["accuracy"], row["epochs"]) for row in found["rows"]] == [
        ("2", 0.94, 3),
        ("0", 0.93, 3),
        ("1", 0.7, 2),
    ]
    marked = [(row["trial"], row["is_best"], row["is_first"], row["stopped"]) for row in found["rows"]]
    assert marked == [("2", True, False, False), ("0", False, True, False), ("1", False, False, True)]
    # Two at a time: not the 30 seconds of all trials.
    assert (found["count"], found["given_up"], found["seconds"]) == (3, 1, 16.0)
    assert len(found["effects"]) == 2


def test_page_has_the_search_where_there_was_one():
    page = render(facts({"search": {"best": TRIALS[2]["values"], "trials": TRIALS}}))
    assert "3 trials on train and validation, 1 of them" in page
    assert "1 of them given up early" in page
    assert "the best, number 2, has 94.00" in page
    assert 'id="search"' not in render(facts())


def test_search_that_found_nothing_better_says_so():
    page = render(facts({"search": {"best": TRIALS[0]["values"], "trials": TRIALS[:2]}}))
    assert "Nothing better was found." in page


# predictions


def test_predictions_are_read_with_their_slices_and_without_what_has_no_label(tmp_path):
    table = pa.table(
        {
            "source": ["a", "a", "a"],
            "example": [0, 1, 2],
            "label": pa.array([1, None, 0], pa.int64()),
            "prediction": [1, 0, 1],
            "probabilities": pa.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], pa.list_(pa.float32())),
            "brightness": ["dark", "dark", "bright"],
        }
    )
    pq.write_table(table, tmp_path / "predictions.parquet")
    found = measured.read_predictions(tmp_path / "predictions.parquet", [])
    assert found.example.tolist() == [0, 2]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_names == ["0", "1"]
    assert found.slices["brightness"].tolist() == ["dark", "bright"]


def test_confusion_matrix_has_a_row_for_each_label(predictions):
    assert measured.confusion_matrix(predictions).tolist() == [[2, 1], [1, 2]]


def test_errors_come_with_the_surest_first_and_right_predictions_with_the_least_sure(predictions):
    assert measured.most_confident_errors(predictions, 5).tolist() == [4, 1]
    assert measured.most_confident_errors(predictions, 1).tolist() == [4]
    cells = {cell: indices.tolist() for cell, indices in measured.cell_examples(predictions, 1).items()}
    assert cells == {(0, 0): [2], (0, 1): [1], (1, 0): [4], (1, 1): [5]}


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.65, 0.65])
    right = np.array([True, True, True, False, True, False])
    # Bin of 0.95: accuracy 0.75, four of six; bin of 0.65: accuracy 0.5, two of six.
    assert measured.calibration_error(confidence, right) == pytest.approx((4 * 0.20 + 2 * 0.15) / 6)
    (row,) = measured.reliability(np.array([1.0]), np.array([True]))
    assert (row.low, row.high, row.confidence, row.accuracy, row.examples) == (0.9, 1.0, 1.0, 1.0, 1)
    # Of one image, all right, Wilson's interval is 1 / (1 + 1.96^2) to 1.
    assert (row.accuracy_low, row.accuracy_high) == (pytest.approx(1 / (1 + 1.96**2), abs=1e-4), 1.0)


def test_precision_and_f1_of_a_class_by_hand(predictions):
    found = {quality.value: quality for quality in measured.quality_by_slice(predictions)}
    # cat: three images, two of them recognized, and one of the three answers "cat" is a dog.
    assert (found["cat"].precision, found["cat"].f1) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (found["all"].precision, found["dark"].f1) == (None, None)
    never = dataclasses.replace(predictions, prediction=np.zeros(6, int))
    cat, dog = (quality for quality in measured.quality_by_slice(never) if quality.slicing == "class")
    assert (cat.precision, cat.f1) == (0.5, pytest.approx(2 / 3))
    assert (dog.precision, dog.f1) == (None, 0.0)


def test_loss_on_the_measure_of_the_curves_by_hand(predictions):
    """Logits 0 and 2 divided by the temperature 2, and by none: ln(1 + e^-2) = 0.1269 for the right class."""
    share = 1 / (1 + np.exp(-1.0))
    probabilities = np.array([[share, 1 - share]] * 6, np.float32)
    asked = dataclasses.replace(predictions, label=np.zeros(6, int), probabilities=probabilities)
    right, wrong = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    assert measured.smoothed_loss(asked, 2.0, 0.0) == pytest.approx(right, rel=1e-5)
    expected = 0.9 * right + 0.1 * wrong  # of 0.2 that both classes share
    assert measured.smoothed_loss(asked, 2.0, 0.2) == pytest.approx(expected, rel=1e-5)
    assert measured.smoothed_loss(predictions, 2.0, 0.2) is None


def test_spans_come_behind_the_classes_in_the_order_of_their_numbers(predictions):
    spans = {"span": np.array(["10", "9", "10", "9", "100", "9"], object)}
    told = [q.value for q in measured.quality_by_slice(dataclasses.replace(predictions, slices=spans))]
    assert told == ["all", "cat", "<dog>", "9", "10", "100"]


def test_quality_by_slice_covers_each_class_and_value(predictions):
    found = {(q.slicing, q.value): (q.examples, q.accuracy) for q in measured.quality_by_slice(predictions)}
    assert found["overall", "all"] == (6, pytest.approx(4 / 6))
    assert found["class", "cat"] == (3, pytest.approx(2 / 3))
    assert found["brightness", "dark"] == (3, pytest.approx(2 / 3))
    assert len(found) == 5


# pictures


@pytest.mark.parametrize("shape", [(4, 6, 1), (4, 6, 3)])
def test_each_image_is_found_at_its_place_in_the_sprite(shape):
    images = {name: np.full(shape, 20 * number, np.uint8) for number, name in enumerate("abcde")}
    sprite = Sprite.of(images)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprite.uri.split(",")[1]))))
    assert (sprite.width, sprite.height, sprite.columns, sprite.rows) == (6, 4, 3, 2)
    for name, image in images.items():
        column, row = sprite.place(name)
        part = picture[row * 4 : row * 4 + 4, column * 6 : column * 6 + 6]
        np.testing.assert_array_equal(part.reshape(shape), image)


def test_large_images_are_shrunk_for_the_sprite():
    sprite = Sprite.of({0: np.zeros((200, 100, 3), np.uint8)})
    assert (sprite.width, sprite.height) == (LARGEST_SIDE // 2, LARGEST_SIDE)


def test_many_classes_or_large_images_get_fewer_pictures_each(predictions):
    # 1,500,000 bytes for 4 cells of 56 x 56 x 3 = 9,408 bytes an image: 39, and no more than 20.
    assert cell_limit(predictions, 9408) == 20
    # For 25 cells 6, and for the 900 of 47 classes that are shown not one.
    assert cell_limit(all_mistaken(5), 9408) == 6
    assert cell_limit(all_mistaken(47), 9408) == 1
    assert cell_limit(all_mistaken(47), 28 * 28) == 2


def all_mistaken(classes: int) -> Predictions:
    """Of each class an image that is taken for each."""
    label, prediction = np.indices((classes, classes)).reshape(2, -1)
    return Predictions(
        example=np.arange(classes * classes),
        label=label,
        prediction=prediction,
        confidence=np.full(classes * classes, 0.5, np.float32),
        slices={},
        class_names=list(map(str, range(classes))),
    )


def test_cells_have_pictures_where_the_matrix_shows_them():
    """Of 40 classes those are shown that are mistaken most often: here the last 30, each of which is taken for 39."""
    some = all_mistaken(40)
    # The first ten are recognized, as far as they are asked about.
    right = dataclasses.replace(some, prediction=np.where(some.label < 10, some.label, some.prediction))
    assert measured.shown_classes(right) == list(range(10, 40))
    cells = measured.cell_examples(right, 1)
    assert len(cells) == 30 * 30
    assert {label for cell in cells for label in cell} == set(range(10, 40))


@pytest.fixture
def noise(examples) -> Callable[..., Examples]:
    """Writes images of 56 x 56 x 3 that no PNG makes smaller: of so many classes so many of each in each split."""

    def write(classes: int, each: int) -> Examples:
        labels = np.tile(np.arange(classes), each)
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 56, 56, 3), np.uint8)
        return examples({split: (images, labels) for split in ("train", "val", "test")}, classes=classes)

    return write


def test_pictures_of_many_classes_stay_within_their_bytes(noise):
    """Of 110 classes, each in three splits, one of 9,408 bytes would be three megabytes, and so many cells 114."""
    found, some = noise(110, 4), all_mistaken(110)
    # Those that are shown, of the first 30 classes, have an image each, as far as 440 reach.
    some = dataclasses.replace(some, example=(30 * some.label + some.prediction) % 440)
    samples, pictures = _samples(found, some)
    assert list(samples) == ["train", "val", "test"]
    # 1,500,000 / (3 * 9,658): 51 images a split, so one of each class of the matrix.
    assert {split: list(of_split) for split, of_split in samples.items()} == dict.fromkeys(
        samples, measured.shown_classes(some)
    )
    assert [len(places) for of_split in samples.values() for places in of_split.values()] == [1] * 90
    behind = _pictures_of(some, found, cell_limit(some, 9408))
    assert len(behind) == PIXEL_BYTES // 9408
    for told in (pictures, behind):
        assert sum(image.nbytes for image in told.values()) <= PIXEL_BYTES
    page = render(facts(predictions=some, class_names=some.class_names, pictures=pictures | behind, samples=samples))
    assert len(page) < 5_000_000
    assert "The first images of 30 of the 110 classes among the first 10,000 records" in page
    cells = json.loads(re.search(r'id="cells">(.*?)</script>', page).group(1))["cells"]
    shown = {str(label) for label in measured.shown_classes(some)}
    assert cells and all(set(cell.split("-")) <= shown for cell in cells)


def test_samples_are_the_first_of_each_class_however_late_they_come(examples):
    """A rare class, whose first image is the 3,000th record."""
    labels = np.array([0] * 2999 + [1, 0, 1])
    images = np.zeros((len(labels), 2, 2), np.uint8)
    samples, pictures = _samples(examples({"train": (images, labels)}, classes=3, shards=2), None)
    assert samples == {"train": {0: [0, 1, 2, 3, 4], 1: [2999, 3001], 2: []}}
    assert list(pictures) == [("train", position) for position in (0, 1, 2, 3, 4, 2999, 3001)]


# the graph


@pytest.fixture
def nodes() -> list[Node]:
    """A reads nothing; B reads A; C reads A and B; D, a resolver, is read by C."""
    return [
        Node(id="A", state="ran", seconds=1.0),
        Node(id="B", state="cached", seconds=0.1, reads=("A",)),
        Node(id="D", state="ran", seconds=0.0),
        Node(id="C", state="failed", seconds=2.0, reads=("A", "B", "D")),
    ]


def test_a_node_lies_below_what_it_reads(nodes):
    assert layers(nodes) == [["A"], ["B", "D"], ["C"]]
    assert layers([]) == []


def test_a_line_that_a_longer_way_implies_is_left_out(nodes):
    assert direct_reads(nodes) == {"A": set(), "B": {"A"}, "D": set(), "C": {"B", "D"}}
    svg = draw(nodes)
    assert svg.count("<path") == 3
    assert svg.count("<rect") == 4


def test_what_waits_for_a_gate_hangs_by_a_dashed_line_that_is_never_left_out():
    gated = [
        Node(id="ExampleGen", state="ran"),
        Node(id="DataGate", state="ran", reads=("ExampleGen",)),
        Node(id="Transform", state="ran", reads=("ExampleGen",), waits=("DataGate",)),
        Node(id="Trainer", state="ran", reads=("Transform",), waits=("DataGate",)),
    ]
    assert layers(gated) == [["ExampleGen"], ["DataGate"], ["Transform"], ["Trainer"]]
    # That Transform reads ExampleGen is said by the way through the gate.
    assert direct_reads(gated)["Transform"] == set()
    svg = draw(gated)
    assert svg.count('<path class="waits"') == 2
    assert svg.count('<path class="reads"') == 2
    assert svg.count('<g class="ran gate">') == 1


def test_a_line_passes_beside_the_boxes_between_its_ends():
    start, end = (230.0, 20.0), (230.0, 200.0)
    between = [(230.0, 110.0), (80.0, 110.0)]
    *ways, last = _around(start, end, [start, end, *between])
    assert last == end
    ((x, y),) = ways
    assert y == 110.0
    assert all(abs(x - box) >= 134 / 2 for box, _ in between)
    assert _around(start, end, [start, end, (380.0, 110.0)]) == [(230.0, 110.0), end]


# plots


def drawn(monkeypatch, plot, *arguments, **named) -> Figure:
    """Returns what a plot draws, before it becomes SVG."""
    found = Figure()
    monkeypatch.setattr(plots, "_svg", lambda draw, *_, **__: draw(found))
    plot(*arguments, **named)
    return found


def test_bars_of_calibration_are_as_high_as_their_axis_says_and_as_wide_as_their_bin(monkeypatch):
    rows = measured.reliability(np.array([0.95, 0.95, 0.95, 0.61]), np.array([True, True, False, True]))
    axes, shares = drawn(monkeypatch, plots.reliability_diagram, rows).axes
    assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in shares.patches] == [
        (0.6, pytest.approx(0.1), 0.25),
        (0.9, pytest.approx(0.1), 0.75),
    ]
    assert shares.get_ylim() == (0, 1.02)
    assert shares.get_ylabel() == "of the images"
    assert list(axes.patches) == []


def test_curves_mark_the_best_epoch(monkeypatch):
    history = [{"epoch": n, "loss": 1 / n, "val_loss": 1.0, "learning_rate": 0.1} for n in (1, 2, 3)]
    (axes,) = drawn(monkeypatch, plots.curves, history, {"loss": "training"}, "loss", best=2).axes
    marks = [line for line in axes.lines if line.get_label() == "best epoch, kept"]
    assert [list(line.get_xdata()) for line in marks] == [[2, 2]]


# the page


def test_report_of_a_run_that_reached_nothing_has_what_there_is():
    page = render(facts(run=Run(number=1, id="20260101-120000-000", started=0, properties={"state": "data refused"})))
    assert "data refused" in page
    assert 'id="result"' in page and 'id="time"' in page
    assert 'id="confusion"' not in page and 'id="training"' not in page


def test_names_from_the_data_cannot_be_markup(predictions):
    pictures = {("test", number): np.zeros((2, 2, 1), np.uint8) for number in range(6)}
    page = render(facts(predictions=predictions, class_names=predictions.class_names, pictures=pictures))
    assert "<dog>" not in page
    assert "&lt;dog&gt;" in page and "\\u003cdog\\u003e" in page


def test_report_calls_on_no_network(predictions):
    statistics = [
        SplitStatistics(
            split="train",
            examples=6,
            features={"image_mean": {"mean": 1.0, "std": 0.5, "min": 0.0, "max": 2.0}},
            histograms={"image_mean": [(0.0, 1.0, 3.0), (1.0, 2.0, 3.0)]},
        )
    ]
    history = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5} | _TIMES]
    training = {"epochs": 1, "best_epoch": 1, "val_accuracy": 0.5, "parameters": 9, "multiply_adds": 9} | _RATE
    page = render(facts({"training": {**training, "history": history}}, statistics=statistics, predictions=predictions))
    assert page.count('class="plot"') == 5
    assert "http://" not in page and "https://" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for plot in re.findall(r'<svg class="plot".*?</svg>', page, re.DOTALL):
        own = set(re.findall(r'\bid="([^"]+)"', plot))
        assert own and set(re.findall(r'(?:url\(|href=")#([^")]+)', plot)) <= own


_TIMES = {"seconds": 1.0, "learning_rate": 0.1}
_RATE = {"examples_per_second": 9.0}


GATES = ("DataGate", "InfraValidator", "Evaluator", "Pusher")


def ended(*states: str) -> list[Node]:
    return [Node(id=name, state=state) for name, state in zip(GATES, states, strict=False)]


def test_gates_tell_what_the_record_says_of_them():
    told = {
        **{name: {"result": "passed", "reasons": []} for name in GATES[:2]},
        "Evaluator": {"result": "refused", "reasons": ["too weak", "accuracy: expected 0.9"]},
        "Pusher": {"result": "refused", "reasons": ["not pushed"]},
    }
    found = {gate.node: gate for gate in gates(facts({"gates": told}, nodes=ended("ran", "ran", "ran", "ran")))}
    assert [gate.result for gate in found.values()] == ["passed", "passed", "refused", "refused"]
    assert found["Evaluator"].reasons == ["too weak", "accuracy: expected 0.9"]
    assert all(gate.asks.endswith("?") for gate in found.values())


def test_gates_behind_a_refusal_are_not_reached():
    refused = {"DataGate": {"result": "refused", "reasons": ["the data gate refuses the data:", "error: train: image"]}}
    stopped = gates(facts({"gates": refused}, nodes=ended("failed", "skipped", "skipped", "skipped")))
    assert stopped[0].reasons == ["the data gate refuses the data:", "error: train: image"]
    assert [gate.result for gate in stopped] == ["refused", "not reached", "not reached", "not reached"]


@pytest.mark.parametrize(
    ("state", "nodes"),
    [
        ("interrupted", ("ran", "interrupted", "skipped", "skipped")),
        ("running", ("ran", "running", "waiting", "waiting")),
        # Killed, and not settled since; killed between two nodes.
        ("interrupted", ("ran", "running", "waiting", "waiting")),
        ("interrupted", ("ran", "skipped", "skipped", "skipped")),
    ],
)
def test_gates_that_an_unfinished_run_has_not_come_to_are_not_reached(state, nodes):
    passed = {"DataGate": {"result": "passed", "reasons": []}}
    found = gates(facts({"state": state, "gates": passed}, nodes=ended(*nodes)))
    assert [gate.result for gate in found] == ["passed", "not reached", "not reached", "not reached"]
    part = gates(facts({"state": "interrupted"}, nodes=ended("skipped", "interrupted", "skipped", "skipped")))
    assert [gate.result for gate in part] == ["left out", "not reached", "not reached", "not reached"]


def test_report_of_a_run_that_was_stopped_before_its_data_gate_says_that_it_was_not_reached():
    statistics = [SplitStatistics(split="val", examples=1, features={}, histograms={})]
    page = render(facts({"state": "interrupted"}, nodes=ended("interrupted", "skipped"), statistics=statistics))
    assert "The data gate was not reached." in page
    part = render(facts({"state": "done"}, nodes=ended("skipped", "ran"), statistics=statistics))
    assert "The data gate was not part of this run." in part


def test_each_state_of_a_node_has_its_colour():
    """Without one it has that of a node that ran."""
    page = render(facts(nodes=ended("interrupted", "running", "waiting")))
    for state in (NODE_CACHED, NODE_FAILED, NODE_SKIPPED, INTERRUPTED, RUNNING, WAITING):
        assert f".dag .{state} rect" in page
        assert f".bar.{state}" in page


def test_gates_that_a_run_of_a_part_leaves_out_are_not_refusals():
    passed = {"InfraValidator": {"result": "passed", "reasons": []}}
    part = facts({"gates": passed}, nodes=ended("skipped", "ran", "skipped", "skipped"))
    assert [gate.result for gate in gates(part)] == ["left out", "passed", "left out", "left out"]
    refused = {"InfraValidator": {"result": "refused", "reasons": []}}
    failed = facts({"gates": refused}, nodes=ended("skipped", "failed", "skipped", "skipped"))
    assert [gate.result for gate in gates(failed)] == ["left out", "refused", "not reached", "not reached"]


def test_what_nodes_logged_of_their_own_is_shown_and_runs_nothing():
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    part = {
        "figures": {"<sharpness>": 0.25},
        "tables": {"blur by class": {"columns": ["class", "blur"], "rows": [["Bag", 0.5]]}},
        "plots": {"histogram": svg},
    }
    page = render(facts({"logged": {"SchemaGen": {"schema": part}}}))
    assert "SchemaGen, schema" in page
    assert "<td>&lt;sharpness&gt;</td>" in page
    assert "<td>Bag</td><td>0.5</td>" in page
    assert 'src="data:image/svg+xml;base64,' in page
    assert "alert(1)" not in page


def test_failure_of_another_node_is_told_at_the_top():
    page = render(facts({"failure": {"node": "Trainer", "message": "the loss is <nan>"}}))
    assert "<b>Trainer</b>: the loss is &lt;nan&gt;" in page


def test_right_class_among_the_first_two_is_shown_where_there_is_a_third():
    two, three = ({"top_2_accuracy": 1.0, "confusion_matrix": [[1] * n] * n} for n in (2, 3))
    assert [headline(metrics) for metrics in (two, three)] == [
        [],
        [("100.00\u202f%", "right class among the first two")],
    ]
    assert [compare(facts({"metrics": metrics}))["rows"] for metrics in (two, three)] == [
        [],
        [{"name": "right class among the first two", "values": ["100.00\u202f%"]}],
    ]


def test_comparison_shows_what_the_runs_have_and_which_settings_differ():
    this = {"run_id": "20260102-000000-000", "metrics": {"test_accuracy": 0.92}, "seed": 1}
    other = {"run_id": "20260101-000000-000", "metrics": {"test_accuracy": 0.91}, "seed": 1}
    for summary, epochs in ((this, 8), (other, 18)):
        summary["provenance"] = {"settings": {"training": {"epochs": epochs, "shift": 2}}}
    found = compare(facts(this, others={"previous": other}))
    assert found["columns"] == ["this run", "previous run"]
    rows = {row["name"]: row["values"] for row in found["rows"]}
    assert rows["test accuracy"] == ["92.00\u202f%", "91.00\u202f%"]
    assert found["settings"] == [{"name": "training.epochs", "values": ["8", "18"]}]


def test_comparison_names_the_runs_and_their_data_and_tells_times_only_of_what_ran():
    def told(number: int, *nodes: tuple[str, str, float], whole: float) -> dict:
        return {
            "run_id": f"2026010{number}-000000-000",
            "name": "letters",
            "data": {"digest": "abcdef0123", "splits": {"train": 1200, "test": 300}},
            "nodes": [{"id": name, "state": state, "seconds": took} for name, state, took in nodes],
            "wall_seconds": whole,
        }

    this = told(2, ("ExampleGen", "cached", 0.1), ("Trainer", "ran", 7.0), ("Pusher", "skipped", 0.0), whole=12)
    other = told(1, ("ExampleGen", "ran", 3.0), ("Trainer", "ran", 8.0), ("Pusher", "skipped", 0.0), whole=30)
    found = compare(facts(this, others={"previous": other}))
    assert found["ids"] == ["20260102-000000-000", "20260101-000000-000"]
    rows = {row["name"]: row["values"] for row in found["rows"]}
    assert rows["data"] == ["letters, 1,500 images (abcdef01)"] * 2
    assert rows["whole run"] == ["12\u202fs, 1 of 3 nodes cached", "30\u202fs"]
    times = {row["name"]: row["values"] for row in found["times"]}
    assert times == {"ExampleGen": ["cached", "3.0\u202fs"], "Trainer": ["7.0\u202fs", "8.0\u202fs"]}
    page = render(facts(this, others={"previous": other}))
    assert "previous run" in page and "20260101-000000-000" in page


def test_page_says_what_the_loss_is_why_images_were_mirrored_and_whose_training_it_was():
    training = {"epochs": 1, "best_epoch": 1, "val_accuracy": 0.5, "parameters": 9, "multiply_adds": 9} | _RATE
    training |= {"flip": False, "flip_reason": "a mirrored 'b' is a 'd'", "temperature": 0.5}
    training["history"] = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5} | _TIMES]
    settings = {"training": {"label_smoothing": 0.2, "network": {"members": 3}}}
    summary = {"training": training, "metrics": {"test_loss": 0.25}, "provenance": {"settings": settings}}
    cached = Node(id="Trainer", state="cached", made_in="20251231-235959-000")
    page = render(facts(summary, nodes=[cached]))
    assert "Images were not mirrored in training: a mirrored &#39;b&#39; is a &#39;d&#39;." in page
    assert "on labels smoothed by 0.2, before calibration; in training the sum over 3 members" in page
    assert "The test loss above, 0.2500, is plain cross-entropy of the calibrated model" in page
    assert "from the cache: run 20251231-235959-000 trained" in page
    assert "1 epoch, the best" in page
    assert "its mirror image together" not in page
    training |= {"flip": True, "mirrored_view": True}
    assert "answers for an image and its mirror image together" in render(facts(summary, nodes=[cached]))


def test_images_of_each_class_are_counted_by_split():
    counts = {"train": {0: 30, 1: 10}, "test": {1: 5}}
    statistics = [
        SplitStatistics(split=split, examples=sum(found.values()), features={}, histograms={}, classes=found)
        for split, found in counts.items()
    ]
    rows = class_counts(facts(class_names=["cat", "dog"], statistics=statistics))
    assert rows == [
        {"name": "cat", "counts": [30, 0], "shares": [1.0, 0.0]},
        {"name": "dog", "counts": [10, 5], "shares": [pytest.approx(1 / 3), 1.0]},
    ]
    assert class_counts(facts(class_names=["cat"])) == []


def test_one_is_one_and_anomalies_tell_their_feature_in_words():
    anomaly = {"severity": "warning", "split": "val", "feature": "image_mean", "text": "drift: far"}
    statistics = [SplitStatistics(split="val", examples=1, features={}, histograms={})]
    page = render(facts(statistics=statistics, nodes=ended("ran"), anomalies=[anomaly]))
    assert "1 anomaly let pass" in page
    assert "<td>mean grey level</td>" in page
    assert [counted(n, "anomaly", "anomalies") for n in (0, 1, 1000)] == ["0 anomalies", "1 anomaly", "1,000 anomalies"]


def test_served_run_is_asked_of_the_serving_folder(tmp_path):
    """Also after a rollback: the highest number shows the files that another run pushed."""
    root = OutputRoot(tmp_path)
    base = root.serving("data")
    for version in ("9", "10"):
        (base / version).mkdir(parents=True)
        (base / version / "saved_model.pb").write_text(version)
    runs = [
        Run(
            number=number,
            id=f"run {number}",
            started=0,
            properties={"published_as": "data", "pushed_model": str(base / place), "blessed": True},
        )
        for number, place in ((1, base / "9"), (2, base / "10"))
    ]
    assert served_run(runs, root, runs[0]).id == "run 2"
    (base / "11").symlink_to("9")
    assert served_run(runs, root, runs[1]).id == "run 1"
    other = Run(number=3, id="run 3", started=0, properties={"published_as": "elsewhere"})
    assert served_run([*runs, other], root, other) is None


def test_figures_are_short_and_have_their_unit():
    assert (percent(0.92345), percent(None)) == ("92.3\u202f%", "")
    assert (seconds(8.44), seconds(59.6), seconds(125)) == ("8.4\u202fs", "60\u202fs", "2\u202fmin 5\u202fs")
    assert [figure(value) for value in (None, True, 0.1234567, "x", [1, 2])] == ["none", "yes", "0.1235", "x", "[1, 2]"]


def test_report_that_cannot_be_written_ends_2_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rendering, "collect", lambda *_: facts())
    (tmp_path / "runs").write_text("a file")
    report = tmp_path / "runs" / "20260101-120000-000" / "report.html"
    assert main(["--output-root", str(tmp_path)]) == 2
    told = f"pipeline.report: {report}: cannot be written (Not a directory). Free some space or mend its permissions, "
    assert capsys.readouterr().err == f"{told}and repeat.\n"


def test_report_on_a_full_disk_leaves_the_one_that_is_there(tmp_path, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rendering, "collect", lambda *_: facts())
    assert main(["--output-root", str(tmp_path)]) == 0
    report = Path(capsys.readouterr().out.strip())
    before = report.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", fail)
    assert main(["--output-root", str(tmp_path)]) == 2
    assert f"{report}: cannot be written (No space left on device). Free some" in capsys.readouterr().err
    assert report.read_bytes() == before


def test_report_of_an_unknown_run_ends_2_in_one_line(tmp_path, capsys):
    assert main(["--output-root", str(tmp_path)]) == InputError("").exit_status == 2
    error = capsys.readouterr().err
    assert error.startswith(f"pipeline.report: {tmp_path}/metadata.db: expected a database of ML Metadata, found none")
    assert error.count("\n") == 1
