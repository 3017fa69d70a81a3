"""Images that occur twice, planted by hand."""

import dataclasses

import numpy as np
import pytest

from components.data_gate.duplicates import find_duplicates
from models.examples import Examples
from models.origins import Origins, write_origins

IMAGES = np.arange(30, dtype=np.uint8).repeat(4).reshape(30, 2, 2)
LABELS = np.arange(30) % 3


@pytest.fixture
def planted(examples):
    """Writes splits given as (numbers of the images, their labels or None), two shards each."""

    def write(**splits: tuple[list[int], list[int] | None]) -> Examples:
        return examples(
            {
                split: (IMAGES[numbers], LABELS[numbers] if labels is None else labels)
                for split, (numbers, labels) in splits.items()
            }
        )

    return write


def test_different_images_are_no_duplicates(planted):
    splits = planted(train=(list(range(20)), None), val=([20, 21, 22], None), test=([25, 26], None))
    assert list(find_duplicates(splits)) == []


def test_images_of_training_are_found_in_the_other_splits_with_their_positions(planted):
    splits = planted(train=(list(range(20)), None), val=([20, 7, 21], None), test=([25, 26, 3, 20, 19], None))
    two = dataclasses.replace(splits, counts={"train": 20, "val": 3})
    (found,) = find_duplicates(two)
    assert found == ("val", "expected no image that is in train too, found 1: record 1 is record 7", 1 / 3)
    assert list(find_duplicates(splits)) == [
        ("val", "expected no image that is in train too, found 1: record 1 is record 7", 1 / 3),
        ("test", "expected no image that is in train too, found 2: record 2 is record 3, record 4 is record 19", 2 / 5),
        ("test", "expected no image that is in val too, found 1: record 3 is record 0", 1 / 5),
    ]


def test_images_are_named_by_the_users_files_where_the_artifact_knows_them(planted, tmp_path):
    splits = planted(train=([1, 2, 3], None), test=([9, 2], None))
    files = {"train": ["a.png", "b.png", "c.png"], "test": ["t.idx", "t.idx"]}
    origins = {
        "train": Origins.of(tmp_path, [tmp_path / name for name in files["train"]], [None] * 3, np.arange(3)),
        "test": Origins.of(tmp_path, [tmp_path / "t.idx"] * 2, [0, 1], np.arange(2)),
    }
    write_origins(splits.folder, origins)
    (found,) = find_duplicates(splits)
    assert found.text == "expected no image that is in train too, found 1: t.idx image 1 is b.png"


def test_more_than_three_positions_are_cut_short(planted):
    splits = planted(train=(list(range(20)), None), val=([1, 2, 3, 4, 5], None))
    ((_, text, _),) = find_duplicates(splits)
    assert text.endswith("found 5: record 0 is record 1, record 1 is record 2, record 2 is record 3, ...")


def test_same_image_with_the_same_label_within_a_split_is_allowed(planted):
    assert list(find_duplicates(planted(train=([1, 1, 2], None)))) == []


def test_image_with_two_labels_is_found(planted):
    ((split, text, share),) = find_duplicates(planted(train=([4, 5, 4, 6], [1, 2, 0, 0])))
    assert split == "train"
    assert text == "expected one label for each image, found 1 with two: record 0 is record 2"
    assert share == 1 / 4


def test_image_with_another_label_in_another_split_is_found_as_both(planted):
    found = list(find_duplicates(planted(train=([4, 5], [1, 2]), test=([9, 4], [0, 2]))))
    assert found == [
        ("test", "expected no image that is in train too, found 1: record 1 is record 0", 1 / 2),
        ("test", "expected one label for each image, found 1 with two: record 1 is record 0", 1 / 2),
    ]
