"""Transform's statistics of the pixels against NumPy in float64."""

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from models.errors import ArtifactError
from models.preprocessing import (
    COUNT,
    SUM,
    SUM_OF_SQUARES,
    moments,
    partial_sums,
    preprocessing_fn,
    read_statistics,
    sums_spec,
)


def sums(images: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    values = images.astype(np.int64)
    return len(images), values.sum(axis=0), (values**2).sum(axis=0)


@given(images=hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(3), st.just(2), st.just(1))))
def test_moments_are_numpys_in_float64(images):
    mean, variance = moments(*sums(images))
    np.testing.assert_allclose(mean, images.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, images.astype(np.float64).var(axis=0), rtol=1e-12, atol=1e-9)


def test_moments_of_real_images_are_numpys_to_twelve_digits(fashion_images):
    mean, variance = moments(*sums(fashion_images))
    exact = fashion_images.astype(np.longdouble)
    np.testing.assert_allclose(mean, exact.mean(axis=0).astype(np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, exact.var(axis=0).astype(np.float64), rtol=1e-12)


@pytest.mark.parametrize("value", [0, 1, 77, 255])
@pytest.mark.parametrize("count", [1, 3, 60_000, 10_000_000])
def test_constant_pixel_has_variance_zero_exactly(value, count):
    total = np.full((2, 2), value * count, np.int64)
    mean, variance = moments(count, total, total * value)
    assert (mean == value).all()
    assert (variance == 0.0).all()


def test_variance_of_ten_million_images_does_not_overflow():
    """Half of them 0, half 255: the mean is 127.5 and so is the standard deviation."""
    half = np.array([5_000_000], np.int64)
    mean, variance = moments(10_000_000, half * 255, half * 255**2)
    assert mean == [127.5]
    np.testing.assert_allclose(variance, [127.5**2], rtol=1e-12)


def test_moments_of_more_values_than_products_in_64_bits_hold_are_exact():
    half = np.full((1, 1, 1), 500_000_000)
    mean, variance = moments(1_000_000_000, half * 255, half * 255**2)
    assert (mean.item(), variance.item()) == (127.5, 127.5**2)
    assert variance.dtype == np.float64


@given(images=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.just(3), st.just(2), st.just(3))))
def test_partial_sums_are_the_sums_in_whole_numbers(images):
    found, values = partial_sums(images), images.reshape(len(images), -1).astype(object)
    assert found[COUNT] == len(images)
    assert found[SUM].tolist() == values.sum(axis=0).tolist()
    assert found[SUM_OF_SQUARES].tolist() == (values**2).sum(axis=0).tolist()
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        name: (np.int64, tuple(spec.shape)) for name, spec in sums_spec(images.shape[1:]).items()
    }


def test_transform_graph_holds_the_statistics_of_the_pixels_of_all_parts(fashion_images, tmp_path):
    parts = np.split(fashion_images[:300], [17, 170])
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(sums_spec((28, 28))))
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as root, tft_beam.Context(temp_dir=str(tmp_path / "tmp")):
        sums = root | beam.Create([partial_sums(part) for part in parts])
        function = (sums, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = function | tft_beam.WriteTransformFn(str(tmp_path / "output"))
        _ = metadata | tft_beam.WriteMetadata(str(tmp_path / "output/metadata"), root)
    mean, variance = read_statistics(str(tmp_path / "output"), (28, 28))
    exact = fashion_images[:300, ..., None].astype(np.float64)
    assert mean.dtype == variance.dtype == np.float64
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-10, atol=1e-12)
    output = tft.TFTransformOutput(str(tmp_path / "output"))
    assert set(output.raw_feature_spec()) == set(output.transformed_feature_spec()) == {COUNT, SUM, SUM_OF_SQUARES}


def test_graph_of_another_version_is_refused_in_a_line(tmp_path):
    metadata = dataset_metadata.DatasetMetadata(
        schema_utils.schema_from_feature_spec({"image": tf.io.FixedLenFeature([], tf.string)})
    )
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as root:
        _ = metadata | tft_beam.WriteMetadata(str(tmp_path / "metadata"), root)
    with pytest.raises(
        ArtifactError, match=r"expected a graph that takes pixel_count, .* found one that takes image: "
    ):
        read_statistics(str(tmp_path), (28, 28))
