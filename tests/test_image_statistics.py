"""The features that TFDV sees of an image, against NumPy in float64."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from components.errors import DataRefused
from components.statistics_gen.image_statistics import (
    DERIVED_FEATURES,
    image_table,
    pixel_features,
    read_feature_tables,
    read_records,
)

LABELS = np.arange(5)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
IMAGES[1], IMAGES[2] = 0, 255


def oracle(image: np.ndarray) -> dict[str, float]:
    values = image.astype(np.float64)
    return {
        "image_height": image.shape[0],
        "image_width": image.shape[1],
        "image_channels": image.shape[2] if image.ndim == 3 else 1,
        "image_mean": values.mean(),
        "image_stddev": values.std(),
        "image_black": (values == 0).mean(),
        "image_saturated": (values == 255).mean(),
    }


def tensor(image: np.ndarray) -> bytes:
    return tf.io.serialize_tensor(image).numpy()


def rows(table) -> list[dict[str, object]]:
    """Returns the table row by row, each value out of its list of one."""
    columns = {name: table.column(name).to_pylist() for name in table.schema.names}
    return [
        {name: None if values[row] is None else values[row][0] for name, values in columns.items()}
        for row in range(table.num_rows)
    ]


def assert_derived(row: dict[str, object], image: np.ndarray) -> None:
    assert {name: row[name] for name in DERIVED_FEATURES} == pytest.approx(oracle(image), rel=1e-6, abs=1e-4)


@settings(max_examples=60)
@given(images=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=6)))
def test_pixel_features_are_numpys_in_float64(images):
    found = pixel_features(images)
    assert set(found) == set(DERIVED_FEATURES)
    for number, image in enumerate(images):
        assert_derived({name: float(values[number]) for name, values in found.items()}, image)


def test_real_images_have_numpys_features(fashion_images):
    found = pixel_features(fashion_images[..., None])
    flat = fashion_images.reshape(400, -1).astype(np.float64)
    np.testing.assert_allclose(found["image_mean"], flat.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["image_stddev"], flat.std(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["image_black"], (flat == 0).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["image_saturated"], (flat == 255).mean(axis=1), rtol=1e-6)


def test_constant_image_has_standard_deviation_zero_exactly():
    images = np.repeat(np.arange(256, dtype=np.uint8), 784).reshape(256, 28, 28, 1)
    assert not pixel_features(images)["image_stddev"].any()


def stored(image: np.ndarray, kind: str) -> bytes:
    """Returns an image as a record of that encoding holds it."""
    if kind == "tensor":
        return tensor(image)
    return {"png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}[kind](image[..., None]).numpy()


@pytest.mark.parametrize("known", [False, True], ids=["any", "told"])
@pytest.mark.parametrize("kind", ["tensor", "png"])
def test_table_has_the_same_features_for_tensors_and_png(kind, known):
    encoded = [stored(image, kind) for image in IMAGES]
    found = rows(image_table(encoded, LABELS, (6, 4), kind if known else None))
    for row, image, label, content in zip(found, IMAGES, LABELS, encoded, strict=True):
        assert row["image"] == content
        assert row["label"] == label
        assert_derived(row, image)


def test_jpeg_has_the_features_of_what_it_decodes_to():
    encoded = [tf.io.encode_jpeg(image[..., None]).numpy() for image in IMAGES]
    for row, content in zip(rows(image_table(encoded, LABELS, (6, 4))), encoded, strict=True):
        assert_derived(row, tf.io.decode_jpeg(content).numpy())


@pytest.mark.parametrize("kind", ["tensor", "png", "jpeg"])
def test_features_of_a_block_are_those_of_each_image_alone_to_the_bit(fashion_images, kind):
    encoded, labels = [stored(image, kind) for image in fashion_images[:50]], np.arange(50)
    block = rows(image_table(encoded, labels, (28, 28), kind))
    assert block == [rows(image_table([one], labels[n : n + 1], (28, 28)))[0] for n, one in enumerate(encoded)]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("shape", [(7, 4), (6, 4, 3)], ids=str)
def test_picture_of_another_shape_among_others_is_described_as_it_is(kind, shape):
    other = np.full(shape, 77, np.uint8)
    encode = {"png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}[kind]
    odd = encode(other if other.ndim == 3 else other[..., None]).numpy()
    found = rows(image_table([stored(IMAGES[1], kind), odd, stored(IMAGES[2], kind)], LABELS[:3], (6, 4), kind))
    assert [row["image_mean"] for row in found] == [0, 77, 255]
    assert_derived(found[1], other)


@pytest.mark.parametrize("shape", [(7, 4), (4, 6), (6, 4, 3), (1, 1)], ids=str)
def test_image_of_another_shape_is_described_as_it_is(shape):
    other = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    found = rows(image_table([tensor(IMAGES[0]), tensor(other)], LABELS[:2], (6, 4)))
    assert_derived(found[0], IMAGES[0])
    assert_derived(found[1], other)


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", b"\x89PNG and no more", b"\xff\xd8\xff", tensor(IMAGES[0])[:-1], tensor(np.zeros((6, 4)))],
    ids=["empty", "text", "png", "jpeg", "cut tensor", "float64"],
)
def test_features_of_what_is_no_image_are_missing(content):
    found = rows(image_table([tensor(IMAGES[0]), content, tensor(IMAGES[1])], LABELS[:3], (6, 4)))
    assert [found[1][name] for name in DERIVED_FEATURES] == [None] * 7
    assert (found[1]["image"], found[1]["label"]) == (content, 1)
    assert_derived(found[0], IMAGES[0])
    assert_derived(found[2], IMAGES[1])


@pytest.mark.parametrize("odd", range(5), ids=lambda odd: f"record {odd}")
@pytest.mark.parametrize(
    ("told", "other"), [("tensor", "png"), ("tensor", "jpeg"), ("png", "tensor"), ("png", "jpeg"), ("jpeg", "png")]
)
def test_features_of_an_image_stored_otherwise_than_told_are_missing(told, other, odd):
    encoded = [stored(image, other if number == odd else told) for number, image in enumerate(IMAGES)]
    found = rows(image_table(encoded, LABELS, (6, 4), told))
    assert [row["image_height"] for row in found] == [None if number == odd else 6 for number in range(5)]
    assert [found[odd][name] for name in DERIVED_FEATURES] == [None] * 7
    assert (found[odd]["image"], found[odd]["label"]) == (encoded[odd], odd)


@pytest.mark.parametrize(("told", "other"), [("tensor", "png"), ("png", "tensor"), ("jpeg", "png"), ("png", "jpeg")])
def test_artifact_whose_images_are_all_stored_otherwise_has_no_features(examples, told, other):
    artifact = examples({"train": (IMAGES, LABELS)}, encoding=told, stored=other, shards=1)
    (table,) = read_feature_tables(artifact, *artifact.shards("train"))
    assert [[row[name] for name in DERIVED_FEATURES] for row in rows(table)] == [[None] * 7] * 5


def test_swapped_sides_are_not_taken_for_the_shape_expected():
    """4x6 and 6x4 have the same number of bytes, and so have their headers."""
    found = rows(image_table([tensor(image.T.copy()) for image in IMAGES], LABELS, (6, 4)))
    assert {(row["image_height"], row["image_width"]) for row in found} == {(4, 6)}


@pytest.fixture(params=["", "GZIP"], ids=["plain", "gzip"])
def artifact(request, examples):
    """Examples of one shard."""
    return examples({"train": (IMAGES, LABELS)}, compression=request.param, shards=1)


def test_tables_of_a_shard_hold_its_records_in_order(artifact):
    (table,) = read_feature_tables(artifact, *artifact.shards("train"))
    for row, image, label in zip(rows(table), IMAGES, LABELS, strict=True):
        assert row["label"] == label
        assert_derived(row, image)


@pytest.mark.parametrize("damage", ["flipped bit", "cut"])
def test_damaged_shard_is_refused_by_name(artifact, damage):
    (shard,) = artifact.shards("train")
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        del content[-20:]
    else:
        content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataRefused) as raised:
        list(read_records(artifact, shard))
    assert str(raised.value).startswith(f"{shard}: expected records of an image and a label, found a damaged one")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("told", "true"), [("GZIP", ""), ("", "GZIP")], ids=["plain", "gzip"])
def test_shard_compressed_otherwise_than_told_is_refused_by_name(examples, told, true):
    artifact = examples({"train": (IMAGES, LABELS)}, compression=true, shards=1)
    (shard,) = artifact.shards("train")
    with pytest.raises(DataRefused, match=rf"{shard.name}: expected records .* found a damaged one after record 0 "):
        list(read_records(dataclasses.replace(artifact, compression=told), shard))


def test_record_without_a_label_is_refused_by_the_name_of_its_shard(examples):
    artifact = examples({"train": (IMAGES, LABELS)}, shards=1)
    (path,) = artifact.shards("train")
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(tensor(IMAGES[0]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(DataRefused, match=r"00000-of-00001: expected records of an image and a label"):
        list(read_records(artifact, path))
