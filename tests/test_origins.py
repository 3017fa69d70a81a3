"""Which file each record came from, written and read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.origins import ORIGINS_FILE, Origins, read_origins, write_origins


def test_picture_is_named_by_its_path_and_one_of_many_by_its_position(tmp_path):
    files = [tmp_path / "a" / "1.png", tmp_path / "many.npz", tmp_path / "many.npz"]
    origins = Origins.of(tmp_path, files, [None, 0, 12_345], np.array([2, 0, 1]))
    assert origins.names(range(3)) == ["many.npz image 12,345", "a/1.png", "many.npz image 0"]
    assert origins.names([1]) == ["a/1.png"]
    assert origins.files == ("many.npz", "a/1.png")


def test_file_that_is_the_data_is_named_without_its_folder(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(b"")
    assert Origins.of(path, [path], [7], np.array([0])).names([0]) == ["train.csv image 7"]


def test_linked_file_is_named_as_the_user_named_it(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere.png").write_bytes(b"")
    link = tmp_path / "data" / "x.png"
    link.symlink_to(tmp_path / "elsewhere.png")
    assert Origins.of(tmp_path / "data", [link], [None], np.array([0])).names([0]) == ["x.png"]


@st.composite
def splits(draw) -> dict[str, list[tuple[str, int | None]]]:
    """Draws files and positions of the records of one to three splits."""
    record = st.tuples(st.sampled_from(["a.png", "ä b.png", "c/d.npz"]), st.none() | st.integers(0, 2**40))
    names = draw(st.lists(st.sampled_from(["train", "val", "test"]), unique=True, min_size=1))
    return {name: draw(st.lists(record, min_size=1, max_size=20)) for name in names}


@given(kept=splits())
def test_origins_of_each_split_are_read_back_in_the_order_of_its_records(tmp_path, kept):
    made = {
        split: Origins.of(
            tmp_path,
            [tmp_path / name for name, _ in records],
            [position for _, position in records],
            np.arange(len(records)),
        )
        for split, records in kept.items()
    }
    write_origins(tmp_path, made)
    for split, records in kept.items():
        found = read_origins(tmp_path, split)
        wanted = [name if position is None else f"{name} image {position:,}" for name, position in records]
        assert found.names(range(len(records))) == wanted


@pytest.mark.parametrize("split", ["train", "val"])
def test_artifact_without_the_file_has_no_origins(tmp_path, split):
    assert read_origins(tmp_path, split) is None
    assert not (tmp_path / ORIGINS_FILE).exists()
