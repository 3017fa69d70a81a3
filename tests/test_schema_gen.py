"""The schema that is proposed, used on data that fit it and on data that do not."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.schema_gen.proposal import propose_schema
from components.statistics_gen.image_statistics import image_table
from components.statistics_gen.statistics import StatisticsCombiner


def statistics_of(images, labels):
    """Returns TFDV's statistics without Beam: one accumulator, one table."""
    encoded = [tf.io.serialize_tensor(image).numpy() for image in images]
    combiner = StatisticsCombiner(10)
    table = image_table(encoded, np.asarray(labels, np.int64), (28, 28))
    return combiner.extract_output(combiner.add_input(combiner.create_accumulator(), table))


@pytest.fixture(scope="module")
def schema(fashion_images, fashion_labels) -> schema_pb2.Schema:
    return propose_schema({"train": statistics_of(fashion_images[:300], fashion_labels[:300])}, class_count=10)


def anomalies(schema, images, labels) -> dict[str, str]:
    found = tfdv.validate_statistics(statistics_of(images, labels), schema)
    return {name: info.short_description for name, info in found.anomaly_info.items()}


def test_proposal_knows_bytes_classes_shape_and_ranges(schema):
    features = {feature.name: feature for feature in schema.feature}
    assert set(features) == {
        "image",
        "label",
        *("image_height", "image_width", "image_channels"),
        *("image_mean", "image_stddev", "image_black", "image_saturated"),
    }
    assert features["image"].WhichOneof("domain_info") == "image_domain"
    label = features["label"].int_domain
    assert (label.min, label.max, label.is_categorical) == (0, 9, True)
    for name, side in (("image_height", 28), ("image_width", 28), ("image_channels", 1)):
        assert (features[name].int_domain.min, features[name].int_domain.max) == (side, side)
    assert (features["image_mean"].float_domain.min, features["image_mean"].float_domain.max) == (0, 255)
    assert features["image_stddev"].float_domain.max == 127.5
    assert features["image_black"].float_domain.max == features["image_saturated"].float_domain.max == 1
    assert not schema.string_domain
    assert all(feature.presence.min_fraction == 1 for feature in schema.feature)


def sized(labels, **examples: int) -> dict:
    """Returns statistics of the training split by its labels alone, and of the others by their number."""
    found = {"train": statistics_of(np.zeros((len(labels), 28, 28), np.uint8), labels)}
    for split, count in examples.items():
        found[split] = statistics_pb2.DatasetFeatureStatisticsList()
        found[split].datasets.add(num_examples=count)
    return found


@pytest.mark.parametrize(
    ("counts", "examples", "label", "mean", "saturated"),
    [
        # Share s of the largest class, n = 1/train + 1/smallest: 0.02 + 3.5 sqrt(s (1 - s) n), 0.045 + 7 n, 0.2 + 14 n.
        # s = 0.5, n = 2/40: 0.02 + 3.5 x 0.5 x 0.22361; 0.045 + 0.35.
        ([20, 20], {}, 0.4113, 0.395, 0.9),
        # s = 0.75, n = 1/80 + 1/20 = 0.0625: 0.02 + 3.5 x 0.43301 x 0.25; 0.045 + 0.4375.
        ([60, 20], {"val": 20, "test": 50}, 0.3989, 0.4825, 1.0),
        # s = 0.5, n = 1/4 + 1: more than 1.
        ([2, 2], {"val": 1}, 1.0, 1.0, 1.0),
    ],
    ids=["train alone", "smallest split counts", "no more than 1"],
)
def test_comparators_of_skew_and_drift_are_as_wide_as_few_examples_need(counts, examples, label, mean, saturated):
    statistics = sized(np.repeat(np.arange(len(counts)), counts), **examples)
    features = {feature.name: feature for feature in propose_schema(statistics, class_count=2).feature}
    for side in ("skew_comparator", "drift_comparator"):
        assert getattr(features["label"], side).infinity_norm.threshold == pytest.approx(label, abs=1e-4)
        for name, wanted in (("image_mean", mean), ("image_black", mean), ("image_saturated", saturated)):
            found = getattr(features[name], side).jensen_shannon_divergence.threshold
            assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("count", [30, 100])
def test_halves_of_few_real_images_are_no_skew_and_light_and_dark_ones_are(fashion_images, fashion_labels, count):
    images, labels = fashion_images[: 2 * count], fashion_labels[: 2 * count]

    def skew(first, second) -> set[str]:
        statistics = {
            split: statistics_of(images[part], labels[part]) for split, part in (("train", first), ("val", second))
        }
        schema = propose_schema(statistics, class_count=10)
        found = tfdv.validate_statistics(statistics["val"], schema, serving_statistics=statistics["train"])
        return set(found.anomaly_info)

    assert skew(np.arange(count), np.arange(count, 2 * count)) == set()
    by_light = np.argsort(images.mean(axis=(1, 2)))
    assert "image_mean" in skew(by_light[:count], by_light[count:])


def test_other_images_of_the_same_kind_fit_the_proposal(schema, fashion_images, fashion_labels):
    assert anomalies(schema, fashion_images[300:], fashion_labels[300:]) == {}


def test_label_beyond_the_classes_does_not_fit(schema, fashion_images):
    assert set(anomalies(schema, fashion_images[:3], [1, 10, 2])) == {"label"}


def test_images_of_another_shape_do_not_fit(schema, fashion_images):
    found = anomalies(schema, [*fashion_images[:3], fashion_images[3, :27]], [1, 2, 3, 4])
    assert set(found) == {"image_height"}


def test_image_that_cannot_be_decoded_does_not_fit(schema, fashion_images):
    images = [*fashion_images[:3], np.zeros((28, 28), np.float32)]
    assert set(anomalies(schema, images, [1, 2, 3, 4])) >= {"image_height", "image_mean"}
