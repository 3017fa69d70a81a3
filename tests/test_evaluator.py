"""TFMA's figures, and who is blessed beside which baseline, on a model whose answers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import encode_split_names
from tfx.utils import proto_utils

from components.evaluator import ReportingEvaluator
from pipeline.config import preset
from pipeline.evaluation import eval_config
from tests.served_models import NAMES, SHAPE, banded_images, export_banded_model, write_split

# Each runs TFMA on Beam, three seconds.
pytestmark = pytest.mark.slow

# Twelve of each class; three ants are labelled bees.
CLASSES = np.repeat([0, 1, 2], 12)
LABELS = np.where(np.arange(36) < 3, 1, CLASSES)
IMAGES = banded_images(CLASSES)
CONFIG = preset("smoke", accuracy_floor=0.8, class_accuracy_floor=0.7, accuracy_tolerance=0.02)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    images = IMAGES.copy()
    # Two cats in the dark.
    images[-2:] //= 8
    write_split(folder / "Split-test", images, LABELS)
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = encode_split_names(["test"])
    artifact.set_string_custom_property("class_names", json.dumps(NAMES))
    artifact.set_string_custom_property("image_shape", json.dumps(SHAPE))
    return artifact


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

    def run(candidate, *baselines, config=CONFIG):
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = (str(tmp_path_factory.mktemp(name)) for name in ("evaluation", "blessing"))
        scratch = str(tmp_path_factory.mktemp("scratch"))
        context = BaseBeamExecutor.Context(["--runner=FnApiRunner", "--sdk_container_image=none"], None, scratch, "1")
        ReportingEvaluator.EXECUTOR_SPEC.executor_class(context).Do(
            {"examples": [examples], "model": [candidate], "baseline_model": list(baselines)},
            {"evaluation": [evaluation], "blessing": [blessing]},
            {"eval_config": proto_utils.proto_to_json(eval_config(config))},
        )
        return blessing, json.loads(evaluation.get_string_custom_property("metrics"))

    return run


@pytest.fixture(scope="module")
def alone(judge, good):
    return judge(good)


def reasons(blessing) -> list[str]:
    return json.loads(blessing.get_string_custom_property("reasons"))


def test_metrics_are_those_of_the_labels_and_answers(alone):
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


def test_first_model_without_a_baseline_is_judged_by_the_floors(alone, good):
    blessing, _ = alone
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("current_model_id") == good.id
    assert not blessing.get_int_custom_property("baseline_model_id")
    assert blessing.get_string_custom_property("verdict") == (
        "blessed: test accuracy 0.9167; weakest class bee 0.8000; no earlier model to compare with"
    )
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["BLESSED"]


def test_floors_refuse_with_metric_slice_bound_and_value(judge, good):
    blessing, _ = judge(good, config=preset("smoke", accuracy_floor=0.95, class_accuracy_floor=0.9))
    assert blessing.get_int_custom_property("blessed") == 0
    assert sorted(reasons(blessing)) == [
        "sparse_categorical_accuracy (class bee): expected at least 0.9, found 0.8000",
        "sparse_categorical_accuracy (overall): expected at least 0.95, found 0.9167",
    ]
    assert blessing.get_string_custom_property("verdict").startswith("refused: sparse_categorical_accuracy")
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["NOT_BLESSED"]


def test_identical_candidate_is_blessed(judge, good, make_model):
    blessing, _ = judge(make_model(), good)
    assert blessing.get_int_custom_property("blessed") == 1
    assert f"compared with model {good.id}" in blessing.get_string_custom_property("verdict")
    assert blessing.get_int_custom_property("baseline_model_id") == good.id


def test_worse_candidate_is_refused_with_the_tolerance(judge, good, make_model):
    # Takes everything for an ant: above no floor, far below the baseline.
    config = preset("smoke", accuracy_floor=0.1, class_accuracy_floor=0.0, accuracy_tolerance=0.02)
    blessing, metrics = judge(make_model(bias=1000.0), good, config=config)
    assert metrics["test_accuracy"] == 9 / 36
    assert blessing.get_int_custom_property("blessed") == 0
    assert reasons(blessing) == [
        "sparse_categorical_accuracy (overall): expected at most 0.02 below the latest other blessed model, "
        "found -0.6667"
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
