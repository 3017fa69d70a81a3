"""Where the data are looked for, and in which order."""

from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from pipeline.run.locate_data import candidates, locate_data


@pytest.fixture
def folders(idx_folder) -> tuple[Path, ...]:
    """Three folders, each with all four files."""
    files = np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.uint8), np.zeros((1, 3, 3), np.uint8), np.zeros(1, np.uint8)
    return tuple(idx_folder(*files, name=name) for name in ("project", "system", "keras"))


def test_project_goes_before_the_system_and_that_before_kerass_cache():
    assert candidates(Path("/project"), Path("/home/me")) == (
        Path("/project/data"),
        Path("/usr/share/datasets/fashion-mnist"),
        Path("/home/me/.keras/datasets/fashion-mnist"),
    )


def test_first_folder_with_all_four_files_is_taken(folders):
    assert locate_data(None, folders) == folders[0]
    (folders[0] / "train-labels-idx1-ubyte").unlink()
    assert locate_data(None, folders) == folders[1]
    (folders[1] / "t10k-images-idx3-ubyte").unlink()
    assert locate_data(None, folders) == folders[2]


def test_named_folder_goes_before_all_others(folders):
    assert locate_data(folders[2], folders[:2]) == folders[2]


def test_named_folder_without_data_is_not_replaced_by_another(folders, tmp_path):
    with pytest.raises(InputError) as raised:
        locate_data(tmp_path / "named", folders)
    assert f"in {tmp_path / 'named'}, found none" in str(raised.value)
    assert str(folders[0]) not in str(raised.value)


def test_every_folder_looked_in_is_told(tmp_path):
    looked = (tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match=r"Run 'make data', or set --data-dir") as raised:
        locate_data(None, looked)
    assert f"{looked[0]}, {looked[1]}" in str(raised.value)
