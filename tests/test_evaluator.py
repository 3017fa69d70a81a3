"""TFMA's figures, and who is blessed beside which baseline, on a model whose predictions are known."""

import dataclasses
import json
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import encode_split_names
from tfx.utils import proto_utils

from components.artifacts import Predictions, describe_examples, open_examples
from components.bulk_inferrer.component import BulkInferrer
from components.bulk_inferrer.inference import predict
from components.errors import InputError, PipelineError
from components.evaluator.calibration import calibration_error
from components.evaluator.component import Evaluator
from components.evaluator.eval_config import eval_config
from components.evaluator.evaluation import evaluate
from components.evaluator.metrics import METRICS, Metric, register
from components.evaluator.results import read_metrics
from components.evaluator.slices import SLICINGS, slicing
from tests.served_models import NAMES, banded_images, export_banded_model, write_examples

# Each runs TFMA on Beam, three seconds.
pytestmark = pytest.mark.slow

# Twelve of each class; three ants are labelled bees.
CLASSES = np.repeat([0, 1, 2], 12)
LABELS = np.where(np.arange(36) < 3, 1, CLASSES)
IMAGES = banded_images(CLASSES)
# Two cats in the dark.
IMAGES[-2:] //= 8
FLOORS = {"accuracy": 0.8, "accuracy@class": 0.7}


def artifact_of(folder: Path, class_names=NAMES, **options) -> standard_artifacts.Examples:
    """Writes the images as an artifact; `options` are those of `write_split`."""
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(folder), encode_split_names(["test"])
    describe_examples(artifact, write_examples(folder, {"test": (IMAGES, LABELS)}, class_names, **options))
    return artifact


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return artifact_of(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def make_model(examples, tmp_path_factory):
    """Makes a model artifact with an id of its own."""
    shards = sorted(Path(examples.uri, "Split-test").iterdir())
    count = 0

    def make(**settings) -> standard_artifacts.Model:
        nonlocal count
        count += 1
        artifact = standard_artifacts.Model()
        artifact.id, artifact.uri = 100 + count, str(tmp_path_factory.mktemp("model"))
        export_banded_model(Path(artifact.uri, "Format-Serving"), shards, **settings)
        return artifact

    return make


@pytest.fixture(scope="module")
def good(make_model):
    """Takes every image for what it is: 33 of the 36 labels."""
    return make_model()


@pytest.fixture(scope="module")
def judge(examples, tmp_path_factory):
    """Runs the executor and returns the properties of the blessing and the metrics."""

    def run(candidate, *baselines, floors=FLOORS, tolerance=0.02, examples=examples, spans=False):
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = (str(tmp_path_factory.mktemp(name)) for name in ("evaluation", "blessing"))
        scratch, predictions = str(tmp_path_factory.mktemp("scratch")), Predictions()
        predictions.uri = str(tmp_path_factory.mktemp("predictions"))
        context = BaseBeamExecutor.Context(["--runner=FnApiRunner", "--sdk_container_image=none"], None, scratch, "1")
        BulkInferrer.EXECUTOR_SPEC.executor_class(context).Do(
            {"examples": [examples], "model": [candidate], "baseline_model": list(baselines)},
            {"predictions": [predictions]},
            {},
        )
        Evaluator.EXECUTOR_SPEC.executor_class(context).Do(
            {"model": [candidate], "predictions": [predictions]},
            {"evaluation": [evaluation], "blessing": [blessing]},
            {"eval_config": proto_utils.proto_to_json(eval_config(floors, tolerance, spans=spans))},
        )
        return blessing, json.loads(evaluation.get_string_custom_property("metrics"))

    return run


@pytest.fixture(scope="module")
def alone(judge, good):
    return judge(good)


def new_pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def reasons(blessing) -> list[str]:
    return json.loads(blessing.get_string_custom_property("reasons"))


def test_metrics_are_those_of_the_labels_and_predictions(alone):
    _, metrics = alone
    assert metrics["test_accuracy"] == 33 / 36
    assert metrics["examples"] == 36
    assert metrics["confusion_matrix"] == [[9, 0, 0], [3, 12, 0], [0, 0, 12]]
    f1 = [2 * 9 / (9 + 12), 2 * 12 / (15 + 12), 1]
    assert metrics["macro_f1"] == pytest.approx(np.mean(f1))
    assert metrics["test_accuracy"] <= metrics["top_2_accuracy"] <= 1
    assert 0 < metrics["expected_calibration_error"] < 1
    assert metrics["test_loss"] > 0


def test_slices_have_names_in_the_order_of_the_classes(alone):
    _, metrics = alone
    by_class = metrics["slices"]["class"]
    assert list(by_class) == list(NAMES)
    assert [part["examples"] for part in by_class.values()] == [9, 15, 12]
    assert metrics["per_class_accuracy"] == {"ant": 1.0, "bee": 0.8, "cat": 1.0}
    brightness = metrics["slices"]["brightness"]
    assert brightness["dark"]["examples"] == 2
    assert sum(part["examples"] for part in brightness.values()) == 36
    assert brightness["dark"]["accuracy"] == 1.0
    assert all(0 <= part["expected_calibration_error"] <= 1 for part in brightness.values())


def test_calibration_error_is_that_of_the_predictions_overall_in_a_slice_and_beside_a_baseline(
    alone, judge, good, make_model
):
    served = tf.saved_model.load(f"{good.uri}/Format-Serving").signatures["predict_images"]
    probabilities = served(images=tf.constant(IMAGES))["probabilities"].numpy()
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == LABELS
    _, beside = judge(good, make_model(bias=3.0))
    for metrics in (alone[1], beside):
        assert metrics["expected_calibration_error"] == pytest.approx(calibration_error(confidence, right), abs=1e-6)
        for label, name in enumerate(NAMES):
            rows = np.flatnonzero(label == LABELS)
            of_class = calibration_error(confidence[rows], right[rows])
            found = metrics["slices"]["class"][name]["expected_calibration_error"]
            assert found == pytest.approx(of_class, abs=1e-6)


def test_each_span_is_a_slice_with_the_examples_of_its_shards(judge, good, tmp_path):
    artifact = artifact_of(tmp_path, bounds=[6, 30])
    parts = (("2026-11-27", {"test": 1}), ("2026-11-28", {"test": 2}))
    describe_examples(artifact, dataclasses.replace(open_examples(artifact), parts=parts))
    _, metrics = judge(good, examples=artifact, spans=True)
    # The three ants that are labelled bees are among the first six.
    found = {name: (part["examples"], part["accuracy"]) for name, part in metrics["slices"]["span"].items()}
    assert found == {"2026-11-27": (6, 0.5), "2026-11-28": (30, 1.0)}
    assert list(found) == ["2026-11-27", "2026-11-28"]
    assert metrics["test_accuracy"] == 33 / 36


def test_class_names_that_look_like_something_else_are_slices_all_the_same(judge, good, tmp_path):
    names = ("ant, red", "7", "Käfer=@")
    floors = {"accuracy@class=7": 0.9, "accuracy@class=Käfer=@": 0.9, "accuracy@class=ant, red": 0.9}
    blessing, metrics = judge(good, floors=floors, examples=artifact_of(tmp_path, names))
    assert metrics["per_class_accuracy"] == {"ant, red": 1.0, "7": 0.8, "Käfer=@": 1.0}
    assert reasons(blessing) == ["accuracy (class 7): expected at least 0.9, found 0.8000"]


def test_compressed_pictures_are_measured_as_their_artifact_says(judge, good, tmp_path, alone):
    packed = artifact_of(tmp_path, encoding="png", compression="GZIP")
    _, metrics = judge(good, examples=packed)
    loss = metrics.pop("test_loss")
    whole = dict(alone[1])
    # Beam adds up in another order.
    assert loss == pytest.approx(whole.pop("test_loss"), rel=1e-5)
    assert metrics == whole


def test_record_that_is_not_stored_as_the_artifact_says_fails(judge, good, tmp_path):
    artifact = artifact_of(tmp_path)
    artifact.set_string_custom_property("encoding", "png")
    with pytest.raises(InputError, match=r"00000-of-00002: expected images stored as png, .* found tensor"):
        judge(good, examples=artifact)


def test_first_model_without_a_baseline_is_judged_by_the_floors(alone, good):
    blessing, _ = alone
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("current_model_id") == good.id
    assert not blessing.get_int_custom_property("baseline_model_id")
    assert blessing.get_string_custom_property("verdict") == (
        "blessed: test accuracy 0.9167; 36 test images, which tell it to 0.782 to 0.971; weakest class bee 0.8000; "
        "no earlier model to compare with"
    )
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["BLESSED"]


def test_floors_refuse_with_metric_slice_bound_and_value(judge, good):
    blessing, _ = judge(good, floors={"accuracy": 0.95, "accuracy@class": 0.9})
    assert blessing.get_int_custom_property("blessed") == 0
    assert reasons(blessing) == [
        "accuracy (overall): expected at least 0.95, found 0.9167",
        "accuracy (class bee): expected at least 0.9, found 0.8000",
    ]
    assert blessing.get_string_custom_property("verdict").startswith("refused: accuracy (overall)")
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["NOT_BLESSED"]


def test_without_a_floor_a_model_has_to_beat_the_largest_class_by_more_than_luck(judge, good, make_model):
    assert judge(good, floors={})[0].get_int_custom_property("blessed") == 1
    blessing, metrics = judge(make_model(bias=1000.0), floors={"accuracy@brightness": 0.0})
    assert metrics["test_accuracy"] == 9 / 36
    # 15 of the 36 are bees: luck has 21 or more right in less than one of 20 cases.
    assert reasons(blessing) == [
        "accuracy (overall): expected at least 0.5833, which naming bee for all 36 images and luck can reach, found "
        "0.2500; set a floor of your own with --set floors.accuracy=FLOOR"
    ]


def test_identical_candidate_is_blessed(judge, good, make_model):
    blessing, _ = judge(make_model(), good)
    assert blessing.get_int_custom_property("blessed") == 1
    assert f"compared with model {good.id}" in blessing.get_string_custom_property("verdict")
    assert blessing.get_int_custom_property("baseline_model_id") == good.id


def test_worse_candidate_is_refused_with_the_tolerance(judge, good, make_model):
    # Takes everything for an ant: above no floor, far below the baseline.
    blessing, metrics = judge(make_model(bias=1000.0), good, floors={"accuracy": 0.1}, tolerance=0.02)
    assert metrics["test_accuracy"] == 9 / 36
    assert blessing.get_int_custom_property("blessed") == 0
    assert reasons(blessing) == [
        "accuracy (overall): expected at most 0.02 below the latest other blessed model, found -0.6667"
    ]


def test_candidate_that_is_worse_by_no_more_than_chance_is_blessed_where_nobody_said_how_much(judge, good, make_model):
    # The two cats in the dark are ants to it: 31 of the 36 labels, of which two standard errors are 0.076.
    worse, floors = make_model(bias=1.0), {"accuracy": 0.1}
    blessing, metrics = judge(worse, good, floors=floors, tolerance=None)
    assert metrics["test_accuracy"] == 31 / 36
    assert (blessing.get_int_custom_property("blessed"), reasons(blessing)) == (1, [])
    assert reasons(judge(make_model(bias=1000.0), good, floors=floors, tolerance=None)[0]) == [
        "accuracy (overall): expected at most 0.1571 below the latest other blessed model, two standard errors of the "
        "difference, found -0.6667"
    ]


def test_better_candidate_is_blessed(judge, good, make_model):
    blessing, _ = judge(good, make_model(bias=1000.0))
    assert blessing.get_int_custom_property("blessed") == 1


@pytest.mark.parametrize("kind", ["other classes", "damaged"])
def test_baseline_that_cannot_be_compared_with_is_left_out_and_named(kind, judge, good, make_model):
    baseline = make_model(classes=4) if kind == "other classes" else make_model()
    if kind == "damaged":
        Path(baseline.uri, "Format-Serving", "saved_model.pb").write_bytes(b"no model")
    blessing, _ = judge(good, baseline)
    assert blessing.get_int_custom_property("blessed") == 1
    verdict = blessing.get_string_custom_property("verdict")
    assert f"model {baseline.id} is no baseline: " in verdict
    assert ("it tells 4 classes apart, the candidate 3" if kind == "other classes" else "it cannot be asked") in verdict
    assert not blessing.get_int_custom_property("baseline_model_id")


# floors


def test_share_that_equals_its_floor_passes(judge, good):
    blessing, _ = judge(good, floors={"accuracy": 33 / 36, "accuracy@class=bee": 0.8})
    assert reasons(blessing) == []


def test_floor_of_a_slice_without_an_example_says_which_there_are(judge, good):
    blessing, _ = judge(good, floors={"accuracy@class=bea": 0.8, "loss@brightness=dusk": 0.5})
    assert blessing.get_int_custom_property("blessed") == 0
    assert reasons(blessing) == [
        "accuracy (class bea): expected at least 0.8, found no example in that slice; the values of class are "
        "ant, bee, cat",
        "loss (brightness dusk): expected at most 0.5, found no example in that slice; the values of brightness are "
        "dark, medium",
    ]


def test_floor_of_a_metric_of_which_less_is_better_is_the_most_that_it_may_be(judge, good, alone):
    loss = alone[1]["test_loss"]
    assert reasons(judge(good, floors={"loss": loss * 1.01})[0]) == []
    (reason,) = reasons(judge(good, floors={"loss": round(loss / 2, 3)})[0])
    assert reason == f"loss (overall): expected at most {round(loss / 2, 3):g}, found {loss:.4f}"


# registered by a user


def balanced_accuracy(counts: np.ndarray) -> float:
    occurring = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[occurring] / counts.sum(axis=1)[occurring]))


@pytest.fixture
def registered():
    """Registers metrics and slicings and takes them out again."""
    before = dict(METRICS), dict(SLICINGS)
    yield
    for registry, content in zip((METRICS, SLICINGS), before, strict=True):
        for name in registry.keys() - content.keys():
            del registry[name]


def test_registered_metric_is_measured_and_has_a_floor(registered, judge, good):
    register(Metric(name="balanced_accuracy", label="balanced accuracy", from_confusion=balanced_accuracy))
    register(Metric(name="nothing", label="no number", by_slice=False, from_confusion=lambda counts: float("nan")))
    floors = {"balanced_accuracy": 0.95, "balanced_accuracy@class=bee": 0.7, "balanced_accuracy@brightness": 0.99}
    blessing, metrics = judge(good, floors=floors)
    assert metrics["balanced_accuracy"] == pytest.approx((1 + 0.8 + 1) / 3)
    assert metrics["nothing"] is None
    assert metrics["slices"]["class"]["bee"]["balanced_accuracy"] == pytest.approx(0.8)
    assert reasons(blessing) == [
        "balanced_accuracy (overall): expected at least 0.95, found 0.9333",
        "balanced_accuracy (brightness medium): expected at least 0.99, found 0.9333",
    ]


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a baseline"])
def test_metric_of_keras_is_measured_of_each_example_and_the_others_are_what_they_were(
    registered, judge, good, make_model, alone, beside
):
    register(Metric(name="cross_entropy", label="loss", class_name="SparseCategoricalCrossentropy"))
    register(Metric(name="top", label="top", class_name="SparseTopKCategoricalAccuracy", config={"k": 2}))
    _, metrics = judge(good, *([make_model(bias=3.0)] if beside else []), floors={"cross_entropy@class=bee": 0.0})
    assert metrics.pop("cross_entropy") == pytest.approx(metrics["test_loss"], rel=1e-5)
    assert metrics.pop("top") == pytest.approx(metrics["top_2_accuracy"])
    for slicing_of in metrics["slices"].values():
        for part in slicing_of.values():
            assert part.pop("cross_entropy") == pytest.approx(part["loss"], rel=1e-5)
            assert part.pop("top") == pytest.approx(part["top_2_accuracy"])
            part["loss"] = pytest.approx(part["loss"], rel=1e-9)
    assert metrics.pop("test_loss") == pytest.approx(alone[1]["test_loss"], rel=1e-9)
    assert metrics == {name: value for name, value in alone[1].items() if name != "test_loss"}


def test_metric_of_probabilities_is_measured_of_all_that_are_read_at_once(registered, judge, good, tmp_path):
    def margin(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # Beam has a copy of this function.
        with (tmp_path / "sizes").open("a") as file:
            file.write(f"{len(labels)}\n")
        first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
        return first - second

    register(Metric(name="margin", label="margin", of_examples=margin))
    _, metrics = judge(good, floors={"margin": 0.01})
    assert 0 < metrics["margin"] < 1
    assert 0 < metrics["slices"]["brightness"]["dark"]["margin"] < 1
    # A call a shard.
    sizes = (tmp_path / "sizes").read_text().split()
    assert (sum(map(int, sizes)), len(sizes)) == (36, 2)


def test_registered_slicing_is_measured_and_has_a_floor(registered, judge, good):
    @slicing("top_row")
    def by_top_row(images, labels, class_names):
        lit = np.where(images[:, 0].mean(axis=(1, 2)) > 100, "lit", "unlit")
        return [f"{class_names[label]}, {light}" for label, light in zip(labels, lit, strict=True)]

    blessing, metrics = judge(good, floors={"accuracy@top_row": 0.5})
    # The three ants that are labelled bees are bright at the top, and all that is wrong.
    assert {name: (part["examples"], part["accuracy"]) for name, part in metrics["slices"]["top_row"].items()} == {
        "ant, lit": (9, 1.0),
        "bee, lit": (3, 0.0),
        "bee, unlit": (12, 1.0),
        "cat, unlit": (12, 1.0),
    }
    assert reasons(blessing) == ["accuracy (top_row bee, lit): expected at least 0.5, found 0.0000"]


def test_slicing_that_fails_fails_the_node_with_its_name(registered, judge, good):
    slicing("short")(lambda images, labels, class_names: ["one"])
    with pytest.raises(PipelineError, match=r"slicing short: expected \d+ names \(str\), one for each example"):
        judge(good)


@pytest.mark.parametrize(
    "way",
    [{"from_confusion": lambda counts: counts[7, 7]}, {"of_examples": lambda probabilities, labels: probabilities[99]}],
    ids=["of counts", "of examples"],
)
def test_metric_that_fails_fails_the_node_with_its_name(registered, judge, good, way):
    register(Metric(name="broken", label="broken", **way))
    with pytest.raises(PipelineError, match=r"metric broken: expected (a )?number.*, found IndexError"):
        judge(good)


def test_answer_that_is_no_number_fails_the_node_with_its_file(good, examples, tmp_path):
    predictions = tmp_path / "predictions.parquet"
    predict(open_examples(examples), {predictions: Path(good.uri, "Format-Serving")}, new_pipeline())
    table = pq.read_table(predictions)
    broken = pa.array([[float("nan")] * 3] * len(table), pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.column_names.index("probabilities"), "probabilities", broken), predictions)
    with pytest.raises(
        PipelineError, match=r"predictions\.parquet: expected probabilities, found an answer that is no"
    ):
        evaluate(eval_config({}, 0.0), predictions, None, NAMES, tmp_path, new_pipeline())


def test_metric_or_slicing_that_tfma_did_not_put_out_is_an_error(registered, good, examples, tmp_path):
    predictions = tmp_path / "predictions.parquet"
    predict(open_examples(examples), {predictions: Path(good.uri, "Format-Serving")}, new_pipeline())
    evaluate(eval_config({}, 0.0), predictions, None, NAMES, tmp_path, new_pipeline())
    slicing("late")(lambda images, labels, class_names: ["one"] * len(images))
    with pytest.raises(PipelineError, match="slicing late: expected its slices among TFMA's results, found none"):
        read_metrics(tmp_path, NAMES)
    register(Metric(name="late", label="late", from_confusion=balanced_accuracy))
    with pytest.raises(PipelineError, match="metric late: expected a number of this name among TFMA's results, found"):
        read_metrics(tmp_path, NAMES)
