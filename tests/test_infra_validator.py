"""What the canary lets pass: answers made by hand, and models served by a process of their own."""

import numpy as np
import pytest
import tensorflow as tf

from components.infra_validator.component import serve_once
from components.infra_validator.client import Refused, check_agreement, check_answers
from components.errors import ModelRefused
from models.portable import LITERT_FILE
from models.warmup import WARMUP_FILE
from tests.served_models import SHAPE, banded_images, export_banded_model, write_split

LABELS = np.arange(70) % 3


def answers(**changes) -> dict[str, np.ndarray]:
    good = {
        "class_id": np.array([1, 0]),
        "class_name": np.array([b"bee", b"ant"]),
        "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]]),
    }
    return {**good, **changes}


def test_well_formed_answers_pass():
    check_answers(answers(), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": np.array([[0.25, 0.75], [np.nan, 0.5]])}, "add up to 1"),
        ({"probabilities": np.array([[0.5, 0.75], [0.5, 0.5]])}, "add up to 1"),
        ({"probabilities": np.array([[0.25, 0.75]])}, "expected 2 answers, found 1"),
        ({"class_id": np.array([0, 0])}, "most probable class"),
        ({"class_name": np.array([b"", b"ant"])}, "one name for each class"),
    ],
)
def test_malformed_answers_are_refused(changes, message):
    with pytest.raises(Refused, match=message):
        check_answers(answers(**changes), 2)


def test_missing_output_is_named():
    found = answers()
    del found["class_name"]
    with pytest.raises(Refused, match="found no class_name"):
        check_answers(found, 2)


def test_one_class_under_two_names_is_refused():
    found = {
        "class_id": np.array([0, 0]),
        "class_name": np.array([b"ant", b"bee"]),
        "probabilities": np.array([[0.9, 0.1]] * 2),
    }
    with pytest.raises(Refused, match="one name for each class"):
        check_answers(found, 2)


def test_signatures_that_differ_are_refused():
    other = answers(probabilities=np.array([[0.2501, 0.7499], [0.5, 0.5]]))
    check_agreement(answers(), answers())
    with pytest.raises(Refused, match=r"expected both signatures to agree to 1e-05, found probabilities 0\.0001 apart"):
        check_agreement(answers(), other)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"), banded_images(LABELS), LABELS)


@pytest.fixture
def model(shards, tmp_path):
    return export_banded_model(tmp_path / "model", shards)


def served(model, shards) -> dict:
    return serve_once(model, list(map(str, shards)), SHAPE)


@pytest.mark.slow
def test_good_model_is_asked_from_outside_and_measured(model, shards):
    found = served(model, shards)
    assert found["examples"] == 70
    assert found["warmup_requests"] == 4
    assert found["litert_disagreements"] == 0
    assert found["litert"]["bytes"] == (model / LITERT_FILE).stat().st_size
    for latency in (found["litert"]["latency_ms"], *found["latency_ms"].values()):
        assert set(latency) == {"1", "64"}
        assert all(milliseconds > 0 for milliseconds in latency.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "saved_model.pb").unlink(), "the model cannot be served: .*SavedModel"),
        (lambda model: (model / LITERT_FILE).unlink(), "expected a portable model"),
        (lambda model: (model / WARMUP_FILE).unlink(), "expected warm-up requests"),
    ],
    ids=["SavedModel", "LiteRT", "warm-up"],
)
def test_model_with_a_part_missing_is_refused(model, shards, damage, message):
    damage(model)
    with pytest.raises(ModelRefused, match=message):
        served(model, shards)


@pytest.mark.slow
def test_portable_model_with_other_answers_is_refused(model, shards, tmp_path):
    other = export_banded_model(tmp_path / "other", shards, bias=1000.0)
    (model / LITERT_FILE).write_bytes((other / LITERT_FILE).read_bytes())
    with pytest.raises(ModelRefused, match=r"at most 0 of 70 images for another class, found 46\."):
        served(model, shards)


@pytest.mark.slow
def test_model_without_a_signature_is_refused(model, shards):
    loaded = tf.saved_model.load(str(model))
    extra = {path: (model / path).read_bytes() for path in (LITERT_FILE, WARMUP_FILE)}
    tf.saved_model.save(loaded, str(model), signatures={"serving_default": loaded.signatures["serving_default"]})
    for path, content in extra.items():
        (model / path).parent.mkdir(exist_ok=True)
        (model / path).write_bytes(content)
    with pytest.raises(ModelRefused, match="found no predict_images"):
        served(model, shards)
