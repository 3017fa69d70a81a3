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

from models.preprocessing import moments, preprocessing_fn, read_statistics


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


ENCODE = {"tensor": tf.io.serialize_tensor, "png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}


def transform(images: np.ndarray, encoding: str, folder: str, *, sparse: bool, stored: str | None = None) -> str:
    """Runs Transform's analysis over `images` as TFX does; returns the folder with its output."""
    encode = ENCODE[stored or encoding]
    channels = images if images.ndim == 4 or encode is tf.io.serialize_tensor else images[..., None]
    kind = tf.io.VarLenFeature if sparse else lambda dtype: tf.io.FixedLenFeature([], dtype)
    schema = schema_utils.schema_from_feature_spec({"image": kind(tf.string)})
    metadata = dataset_metadata.DatasetMetadata(schema)
    rows = [{"image": [encode(image).numpy()] if sparse else encode(image).numpy()} for image in channels]
    config = {"image_shape": list(images.shape[1:]), "image_encoding": encoding}
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as root, tft_beam.Context(temp_dir=f"{folder}/tmp"):
        examples = root | beam.Create(rows)
        function = (examples, metadata) | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, config))
        _ = function | tft_beam.WriteTransformFn(f"{folder}/output")
        _ = metadata | tft_beam.WriteMetadata(f"{folder}/output/metadata", root)
    return f"{folder}/output"


@pytest.mark.parametrize(("encoding", "sparse"), [("tensor", True), ("png", False), ("jpeg", False)])
def test_transform_graph_holds_the_statistics_of_the_pixels(fashion_images, tmp_path, encoding, sparse):
    output = transform(fashion_images[:300], encoding, str(tmp_path), sparse=sparse)
    mean, variance = read_statistics(output, (28, 28), encoding)
    images = fashion_images[:300, ..., None]
    if encoding == "jpeg":  # which loses a little: what is stored counts
        images = np.stack([tf.io.decode_jpeg(tf.io.encode_jpeg(image)) for image in images])
    exact = images.astype(np.float64)
    assert mean.dtype == variance.dtype == np.float64
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-10, atol=1e-12)
    assert set(tft.TFTransformOutput(output).transformed_feature_spec()) == {
        "pixel_count",
        "pixel_sum",
        "pixel_sum_of_squares",
    }


@pytest.mark.parametrize(("told", "stored"), [("tensor", "png"), ("png", "tensor")])
def test_images_stored_otherwise_than_told_are_no_statistics(fashion_images, tmp_path, told, stored):
    with pytest.raises(Exception, match="an image of the batch is not stored as the examples say, which is") as raised:
        transform(fashion_images[:8], told, str(tmp_path), sparse=False, stored=stored)
    assert f"[{told}]" in str(raised.value)
    assert not (tmp_path / "output" / "transform_fn").exists()
