"""The one reader of the Examples artifact: what it says of itself, and what happens where that is not true."""

import ast
import dataclasses
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts import describe_examples, open_examples
from models.examples import Examples, ExamplesError, compression_of, encoding_of, open_shards, shard_name
from models.features import COMPRESSIONS, ENCODINGS
from models.pictures import read_pictures
from models.tfrecords import decode_image, parse_example, read_records
from tests.conftest import ROOT

GREY = np.random.default_rng(0).integers(0, 256, (7, 9, 8), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (7, 9, 8, 3), np.uint8)
LABELS = np.array([3, 0, 255, 1, 1, 9, 2])
WRONG = [(told, stored) for told in ENCODINGS for stored in ENCODINGS if told != stored]


def in_order(artifact: Examples, split: str = "train") -> tf.Tensor:
    """Returns all records of a split in one batch."""
    return next(iter(artifact.records(split).batch(100)))


def parse_in_tf_data(artifact: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Parses a split as the input pipeline does, batch by batch in a graph."""
    parsed = list(artifact.records("train").batch(4).map(artifact.parse).as_numpy_iterator())
    return tuple(np.concatenate(part) for part in zip(*parsed, strict=True))


def parse_eagerly(artifact: Examples) -> tuple[np.ndarray, np.ndarray]:
    images, labels = artifact.parse(in_order(artifact))
    return images.numpy(), labels.numpy()


def look_at_pictures(artifact: Examples) -> tuple[np.ndarray, np.ndarray]:
    found = list(read_pictures(artifact, "train", set(range(artifact.counts["train"]))))
    assert [position for position, _, _ in found] == list(range(artifact.counts["train"]))
    return np.stack([image for _, image, _ in found]), np.array([label for _, _, label in found])


READERS = pytest.mark.parametrize("read", [parse_eagerly, parse_in_tf_data, look_at_pictures])


def refusal(read, *arguments) -> str:
    """Returns the one line with which a reader refuses an artifact."""
    with pytest.raises(ExamplesError) as raised:
        read(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# What an artifact says of itself


@given(
    encoding=st.sampled_from(ENCODINGS),
    compression=st.sampled_from(COMPRESSIONS),
    image_shape=st.lists(st.integers(1, 99), min_size=2, max_size=3).map(tuple),
    class_names=st.lists(st.text(min_size=1), min_size=2, unique=True).map(tuple),
    counts=st.dictionaries(st.sampled_from(["train", "val", "test"]), st.integers(0, 10**9)),
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_properties_of_an_artifact_come_back_as_they_were(**fields):
    examples = Examples(folder=Path("somewhere"), **fields)
    properties = examples.properties()
    assert all(isinstance(value, str) for value in properties.values())
    assert "folder" not in properties
    assert Examples.open("somewhere", properties) == examples


def test_artifact_of_tfx_keeps_what_describes_it(examples):
    from tfx.types import standard_artifacts

    described = examples({"train": (GREY, LABELS)}, encoding="png", compression="GZIP")
    artifact = standard_artifacts.Examples()
    artifact.uri = str(described.folder)
    describe_examples(artifact, described)
    assert open_examples(artifact) == described


def test_properties_that_others_added_are_no_obstacle(examples):
    described = examples({"train": (GREY, LABELS)})
    assert Examples.open(described.folder, {**described.properties(), "span": "3"}) == described


@pytest.mark.parametrize("name", ["encoding", "compression", "image_shape", "class_names", "counts", "digest"])
def test_missing_property_is_told_in_a_line_with_the_way_out(examples, name):
    described = examples({"train": (GREY, LABELS)})
    properties = described.properties()
    del properties[name]
    assert refusal(Examples.open, described.folder, properties) == (
        f"{described.folder}: expected examples that say their {name}, found an artifact of another version of this "
        "project. Run ExampleGen again."
    )


def test_all_missing_properties_are_told_together():
    assert (
        "say their encoding, compression, image_shape, image_fit, class_names, class_values, counts, digest, "
        "span_name, parts, found" in refusal(Examples.open, "nowhere", {})
    )


# Shards


def test_shards_are_named_as_tfx_names_them():
    assert shard_name(3, 12, "") == "data_tfrecord-00003-of-00012"
    assert shard_name(0, 1, "GZIP") == "data_tfrecord-00000-of-00001.gz"


def test_shards_of_a_split_come_in_order_wherever_they_end(examples):
    artifact = examples({"train": (GREY, LABELS), "val": (GREY[:2], LABELS[:2])}, shards=11, compression="GZIP")
    assert [path.name for path in artifact.shards("train")] == [shard_name(n, 11, "GZIP") for n in range(11)]
    assert {path.parent for path in artifact.shards("val")} == {artifact.folder / "Split-val"}
    # What a writer that was killed left beside them is none.
    (artifact.split_folder("val") / ".data_tfrecord-00000-of-00011.gz.1-ab.partial").write_bytes(b"")
    assert len(artifact.shards("val")) == 11


@READERS
@pytest.mark.parametrize("number", [0, 1, 2], ids=["first", "middle", "last"])
def test_missing_shard_is_told_in_every_reader_with_those_that_are_there(examples, read, number):
    artifact = examples({"train": (GREY, LABELS)}, shards=3)
    artifact.shards("train")[number].unlink()
    message = refusal(read, artifact)
    assert message.startswith(f"{artifact.folder / 'Split-train'}: expected all shards of the split, found data_tf")
    assert shard_name(number, 3, "") not in message
    assert message.endswith("Delete the artifact and run again.")


@READERS
def test_split_that_is_not_there_is_told(examples, read):
    artifact = examples({"train": (GREY, LABELS)})
    artifact.split_folder("train").rename(artifact.folder / "elsewhere")
    assert "expected all shards of the split, found none." in refusal(read, artifact)


@READERS
def test_shards_of_two_writings_are_told(examples, read):
    artifact = examples({"train": (GREY, LABELS)}, shards=2)
    (artifact.split_folder("train") / shard_name(0, 1, "")).write_bytes(b"")
    assert "found data_tfrecord-00000-of-00001, data_tfrecord-00000-of-00002" in refusal(read, artifact)


@READERS
def test_shards_compressed_otherwise_than_the_artifact_says_are_told_by_their_names(examples, read):
    artifact = dataclasses.replace(examples({"train": (GREY, LABELS)}, compression="GZIP"), compression="")
    assert "data_tfrecord-00000-of-00002.gz" in refusal(read, artifact)


@READERS
def test_shard_whose_name_ends_in_gz_but_that_is_plain_is_an_error(examples, read):
    artifact = examples({"train": (GREY, LABELS)}, compression="GZIP")
    for path in artifact.shards("train"):
        path.write_bytes(gzip.decompress(path.read_bytes()))
    with pytest.raises((ExamplesError, tf.errors.DataLossError)) as raised:
        read(artifact)
    if read is look_at_pictures:
        assert f"{artifact.shards('train')[0]}: expected TFRecords compressed with GZIP" in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compression_of_a_file_that_no_artifact_describes_is_seen_by_its_first_bytes(examples, compression):
    (path,) = examples({"train": (GREY, LABELS)}, compression=compression, shards=1).shards("train")
    renamed = path.rename(path.with_name("records"))
    assert compression_of(renamed) == compression
    assert len(list(open_shards((renamed,), compression))) == 7


# Records


@READERS
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("encoding", ["tensor", "png"])
@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_reader_gives_the_images_and_their_labels_in_order(examples, read, images, encoding, compression):
    artifact = examples({"train": (images, LABELS)}, encoding=encoding, compression=compression, shards=3)
    found, labels = read(artifact)
    np.testing.assert_array_equal(found, images if images.ndim == 4 else images[..., None], strict=True)
    assert labels.tolist() == LABELS.tolist()
    assert labels.dtype == np.int64


@READERS
def test_jpeg_is_what_both_libraries_decode_it_to(examples, read):
    """TensorFlow's and Pillow's decoders round otherwise, of noise by more than of a smooth image."""
    smooth = np.linspace(20, 220, GREY.size).astype(np.uint8).reshape(GREY.shape)
    artifact = examples({"train": (smooth, LABELS)}, encoding="jpeg")
    expected = [tf.io.decode_jpeg(tf.io.encode_jpeg(image[..., None])).numpy() for image in smooth]
    found, _ = read(artifact)
    assert np.abs(found.astype(int) - np.stack(expected)).max() <= 2


def test_parsed_batches_have_a_known_shape_before_anything_is_read(examples):
    artifact = examples({"train": (COLOUR, LABELS)})
    images, labels = artifact.records("train").batch(4).map(artifact.parse).element_spec
    assert (images.dtype, images.shape.as_list()) == (tf.uint8, [None, 9, 8, 3])
    assert (labels.dtype, labels.shape.as_list()) == (tf.int64, [None])


def test_pictures_are_those_asked_for_and_no_more_is_read(examples):
    artifact = examples({"train": (GREY, LABELS)}, shards=1)
    (path,) = artifact.shards("train")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 7 + 3])  # the last record is cut short
    found = list(read_pictures(artifact, "train", {4, 0}))
    assert [(position, label) for position, _, label in found] == [(0, 3), (4, 1)]
    np.testing.assert_array_equal(found[1][1], GREY[4, ..., None], strict=True)
    assert list(read_pictures(artifact, "train", set())) == []


@READERS
@pytest.mark.parametrize(("told", "stored"), WRONG, ids=str)
def test_image_stored_otherwise_than_the_artifact_says_is_an_error_in_every_reader(examples, read, told, stored):
    artifact = examples({"train": (GREY, LABELS)}, encoding=told, stored=stored)
    with pytest.raises((ExamplesError, tf.errors.InvalidArgumentError)) as raised:
        read(artifact)
    if read is look_at_pictures:
        assert str(raised.value) == (
            f"train, record 0: expected images stored as {told}, as the artifact {artifact.folder} says, found "
            f"{stored}. Delete the artifact and run again."
        )
    else:
        assert "is not stored as the examples say" in str(raised.value)


@READERS
@pytest.mark.parametrize(("told", "stored"), WRONG, ids=str)
def test_one_image_among_others_that_is_stored_otherwise_is_an_error_in_every_reader(examples, read, told, stored):
    artifact = examples({"train": (GREY, LABELS)}, encoding=told)
    other = examples({"train": (GREY, LABELS)}, encoding=stored, name="other")
    artifact.shards("train")[1].write_bytes(other.shards("train")[1].read_bytes())
    with pytest.raises((ExamplesError, tf.errors.InvalidArgumentError)) as raised:
        read(artifact)
    assert re.search("train, record 4: expected images|is not stored as the examples say", str(raised.value))


@READERS
@pytest.mark.parametrize("encoding", ["tensor", "png"])
def test_image_of_another_shape_than_the_artifact_says_is_an_error_in_every_reader(examples, read, encoding):
    artifact = dataclasses.replace(examples({"train": (GREY, LABELS)}, encoding=encoding), image_shape=(8, 9))
    with pytest.raises((ExamplesError, tf.errors.InvalidArgumentError)):
        read(artifact)


def test_encoding_is_seen_by_how_the_bytes_begin():
    assert encoding_of(tf.io.encode_png(GREY[0, ..., None]).numpy()) == "png"
    assert encoding_of(tf.io.encode_jpeg(GREY[0, ..., None]).numpy()) == "jpeg"
    assert encoding_of(tf.io.serialize_tensor(GREY[0]).numpy()) == "tensor"
    assert encoding_of(b"") == "tensor"


# Without TensorFlow


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_read_without_tensorflow_are_those_of_tensorflow(examples, compression):
    (path,) = examples({"train": (COLOUR, LABELS)}, compression=compression, shards=1).shards("train")
    assert list(read_records(path, compression)) == list(open_shards((path,), compression).as_numpy_iterator())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_truncated_shard_is_refused_by_name_wherever_it_was_cut(examples, compression):
    (path,) = examples({"train": (GREY[:2, :3, :3], [0, 1])}, compression=compression, shards=1).shards("train")
    content = path.read_bytes()
    whole = list(read_records(path, compression))
    # A plain file that ends between two records is no different from a shorter one: the gate counts them.
    allowed = {0, len(content) // 2} if compression == "" else {0}
    for size in range(len(content)):
        path.write_bytes(content[:size])
        if size in allowed:
            assert list(read_records(path, compression)) == whole[: size // (len(content) // 2)]
            continue
        with pytest.raises(ValueError, match=f"{path.name}: expected TFRecords") as raised:
            list(read_records(path, compression))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("told", COMPRESSIONS)
def test_what_is_no_tfrecord_is_refused(tmp_path, told):
    path = tmp_path / "data_tfrecord-00000-of-00001"
    path.write_bytes(b"no record at all, but a text of more than twelve bytes")
    with pytest.raises(ValueError, match=f"{path.name}: expected TFRecords"):
        list(read_records(path, told))


def test_plain_reader_refuses_a_gzipped_shard(examples):
    (path,) = examples({"train": (GREY, LABELS)}, compression="GZIP", shards=1).shards("train")
    with pytest.raises(ValueError, match="expected TFRecords, found one that is cut short or none at all"):
        list(read_records(path, ""))


@given(label=st.integers(0, 2**62), image=st.binary(max_size=300))
def test_example_of_any_image_and_label_is_parsed_as_protocol_buffers_do(label, image):
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(image)
    example.features.feature["label"].int64_list.value.append(label)
    assert parse_example(example.SerializeToString()) == (image, label)


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_serialized_tensor_is_decoded_without_tensorflow(images):
    found = decode_image(tf.io.serialize_tensor(images[0]).numpy())
    np.testing.assert_array_equal(found, images[0] if images.ndim == 4 else images[0, ..., None], strict=True)


def damaged(record: bytes, position: int, value: int) -> bytes:
    return record[:position] + bytes([value]) + record[position + 1 :]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_damaged_record_is_an_error_of_the_examples_or_none(examples, encoding):
    """Whatever one byte of a record becomes: no other exception, which nobody would tell in a line."""
    artifact = examples({"train": (GREY[:1, :4, :4], [1])}, encoding=encoding, shards=1)
    (path,) = artifact.shards("train")
    content = path.read_bytes()
    for position in range(12, len(content) - 4):
        for value in (0x80, 0xFF, content[position] ^ 1):
            path.write_bytes(damaged(content, position, value))
            try:
                list(read_pictures(artifact, "train", {0}))
            except ExamplesError as error:
                assert "\n" not in str(error)
    # And cut short anywhere, with a length that fits.
    record = content[12:-4]
    for size in range(len(record)):
        path.write_bytes(size.to_bytes(8, "little") + bytes(4) + record[:size] + bytes(4))
        with pytest.raises(ExamplesError):
            list(read_pictures(artifact, "train", {0}))


def test_error_of_a_damaged_record_says_where_it_is(examples):
    artifact = examples({"train": (GREY, LABELS)}, shards=1)
    (path,) = artifact.shards("train")
    content = bytearray(path.read_bytes())
    start = len(content) // 7 * 2 + 12
    content[start : start + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(ExamplesError, match=r"^train, record 2 of "):
        list(read_pictures(artifact, "train", {0, 2}))


# One place knows


FACTS = ("data_tfrecord", "Split-", ".gz")
# IDX files are gzipped as well.
OF_IDX = {("components/example_gen/kinds/idx_folder.py", ".gz"), ("components/example_gen/idx.py", ".gz")}


def literals(path: Path) -> set[str]:
    """Returns the strings of a module, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told
    }


def test_no_other_module_knows_how_shards_are_named_and_where_splits_lie():
    knowing = {
        (path.relative_to(ROOT).as_posix(), fact)
        for folder in ("components", "models", "pipeline")
        for path in ROOT.joinpath(folder).rglob("*.py")
        # To parse a file takes time.
        if any(fact in path.read_text() for fact in FACTS)
        for literal in literals(path)
        for fact in FACTS
        if (fact == literal if fact == ".gz" else fact in literal)
    }
    assert {fact for path, fact in knowing if path == "models/examples.py"} == set(FACTS)
    others = {(path, fact) for path, fact in knowing if path not in ("models/examples.py", "models/features.py")}
    assert others - OF_IDX == set()
