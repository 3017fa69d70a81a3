"""The IDX parser against files made with `struct`, `gzip` and `zlib`."""

import gzip
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.errors import InputError
from components.example_gen.idx import read_header, read_idx
from tests.conftest import idx_bytes

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
CUBE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train-images-idx3-ubyte"


def refusal(path: Path, content: bytes) -> str:
    """Returns the message with which `content` is refused."""
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_idx(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@given(values=ARRAYS, zipped=st.booleans())
def test_any_array_of_one_to_four_dimensions_is_read_back(path, values, zipped):
    path.write_bytes(gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values))
    found = read_idx(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values, strict=True)
    assert read_header(path) == (np.uint8, values.shape)


def test_values_larger_than_one_block_are_read_back(idx_file):
    values = np.random.default_rng(0).integers(0, 256, (3, 1 << 20), np.uint8)
    for name in ("plain", "zipped.gz"):
        np.testing.assert_array_equal(read_idx(idx_file(values, name)), values)


def test_real_files_hold_what_their_makers_say(fashion_mnist):
    labels = read_idx(fashion_mnist / "t10k-labels-idx1-ubyte.gz")
    assert read_header(fashion_mnist / "train-images-idx3-ubyte.gz")[1] == (60_000, 28, 28)
    assert np.bincount(labels).tolist() == [1_000] * 10


@given(values=ARRAYS, data=st.data())
def test_every_proper_beginning_of_a_file_is_refused(path, values, data):
    content = idx_bytes(values)
    refusal(path, content[: data.draw(st.integers(0, len(content) - 1), label="bytes kept")])


@given(values=ARRAYS, data=st.data())
def test_every_proper_beginning_of_a_gzipped_file_is_refused(path, values, data):
    content = gzip.compress(idx_bytes(values))
    refusal(path, content[: data.draw(st.integers(0, len(content) - 1), label="bytes kept")])


@given(values=ARRAYS, tail=st.binary(min_size=1, max_size=50), zipped=st.booleans())
def test_any_bytes_beyond_the_promise_are_refused(path, values, tail, zipped):
    content = idx_bytes(values) + tail
    message = refusal(path, gzip.compress(content) if zipped else content)
    assert f"= {values.size:,} bytes" in message
    assert "holds more" in message


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
def test_truncated_images_report_both_byte_counts(path, compress):
    content = idx_bytes(np.zeros((60, 28, 28), np.uint8))
    message = refusal(path, compress(content[:-1_234]))
    assert "60x28x28 = 47,040 bytes" in message
    assert "holds 45,806" in message


def test_truncated_gzip_stream_reports_what_could_be_unpacked(path):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    cut = gzip.compress(idx_bytes(pixels))[:50_000]
    held = len(zlib.decompressobj(31).decompress(cut)) - 16
    message = refusal(path, cut)
    assert "100x28x28 = 78,400 bytes" in message
    assert f"holds {held:,}: it was cut short" in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\0\0\x08", "00 00 08"),
        (b"\x89PNG\r\n\x1a\n", "89 50 4e 47"),
        (b"\0\1\x08\1\0\0\0\1x", "00 01 08 01"),
    ],
    ids=["empty", "three bytes", "png", "second byte"],
)
def test_other_magic_is_shown(path, content, found):
    message = refusal(path, content)
    assert "expected the IDX magic 00 00 08" in message
    assert f"found {found}." in message


@pytest.mark.parametrize("code", [0x00, 0x0A, 0x0F, 0xFF])
def test_values_of_no_type_of_idx_are_refused_by_their_code(path, code):
    message = refusal(path, bytes([0, 0, code, 1, 0, 0, 0, 1, 7]))
    assert "expected IDX values of a type among 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e" in message
    assert f"found 0x{code:02x}." in message


@pytest.mark.parametrize(
    ("code", "layout", "dtype"),
    [
        (0x09, ">b", np.int8),
        (0x0B, ">h", np.int16),
        (0x0C, ">i", np.int32),
        (0x0D, ">f", np.float32),
        (0x0E, ">d", float),
    ],
)
def test_values_of_each_type_are_read_in_this_machines_order(path, code, layout, dtype):
    path.write_bytes(bytes([0, 0, code, 1, 0, 0, 0, 2]) + struct.pack(layout, 3) + struct.pack(layout, -7))
    np.testing.assert_array_equal(read_idx(path), np.array([3, -7], dtype), strict=True)
    assert "= 8 bytes, the file holds 7" in refusal(path, bytes([0, 0, 0x0C, 1, 0, 0, 0, 2]) + b"1234567")


def test_header_without_dimensions_is_refused(path):
    assert "expected 1 dimensions in the header, found 0" in refusal(path, b"\0\0\x08\0")


def test_header_cut_within_its_dimensions_tells_how_many_there_are(path):
    assert "expected 3 dimensions in the header, found 2" in refusal(path, idx_bytes(CUBE)[:14])


@pytest.mark.parametrize("shape", [(0,), (5, 0, 28), (2**32 - 1,) * 4, (2**20, 2**20, 2)], ids=str)
def test_zero_and_overflowing_sizes_are_refused_before_anything_is_allocated(path, shape):
    content = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    assert f"promises {'x'.join(map(str, shape))} values" in refusal(path, content)


def test_huge_promise_over_few_bytes_costs_no_memory(path):
    tracemalloc.start()
    message = refusal(path, struct.pack(">BBBBI", 0, 0, 8, 1, 2**32 - 1) + b"abc")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "4,294,967,295 bytes, the file holds 3" in message
    assert peak < 4 << 20


def test_gzip_with_a_wrong_checksum_is_refused(path):
    content = bytearray(gzip.compress(idx_bytes(CUBE)))
    content[-8] ^= 1
    assert "gzip stream is damaged (CRC check failed" in refusal(path, bytes(content))


def test_gzip_with_a_damaged_block_is_refused(path):
    content = bytearray(gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, 9_000, np.uint8))))
    content[10] |= 0b110  # deflate's reserved type of block
    assert "gzip stream is damaged" in refusal(path, bytes(content))


def test_gzip_bomb_is_refused_without_unpacking_it(path):
    """A header of 100 bytes before 1 GiB of zeros; whoever reads to its end meets a damaged member there."""
    head = gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 100) + bytes(100))
    bomb = head + gzip.compress(bytes(16 << 20), 1) * 64 + b"no gzip member"
    tracemalloc.start()
    message = refusal(path, bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "100 bytes, the file holds more" in message
    assert peak < 1 << 20


def test_gzip_bomb_is_abandoned_after_its_first_block(path, monkeypatch):
    bomb = gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 100) + bytes(64 << 20), 1)
    unpacked = []
    read1 = gzip.GzipFile.read1
    monkeypatch.setattr(
        gzip.GzipFile, "read1", lambda self, size=-1: unpacked.append(read1(self, size)) or unpacked[-1]
    )
    refusal(path, bomb)
    assert sum(map(len, unpacked)) == 4 + 4 + 100 + 1


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: does not exist; .* Point --data-dir elsewhere"):
        read_header(tmp_path / "nowhere")


def test_folder_is_no_idx_file(tmp_path):
    with pytest.raises(InputError, match=r"is no regular file"):
        read_idx(tmp_path)


def test_unreadable_file_is_an_input_error(idx_file, monkeypatch):
    """Patched, because root may read everything."""
    path = idx_file(CUBE)

    def refuse(*_: object) -> io.IOBase:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)\. Check its permissions"):
        read_idx(path)
