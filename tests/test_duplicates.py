"""Images that occur twice, planted by hand."""

import dataclasses

import numpy as np
import pytest

from components.data_gate.duplicates import find_duplicates
from models.examples import Examples

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
    assert dict(find_duplicates(two)) == {"val": "expected no image that is in train too, found 1: records 1"}
    assert list(find_duplicates(splits)) == [
        ("val", "expected no image that is in train too, found 1: records 1"),
        ("test", "expected no image that is in train too, found 2: records 2, 4"),
        ("test", "expected no image that is in val too, found 1: records 3"),
    ]


def test_more_than_three_positions_are_cut_short(planted):
    splits = planted(train=(list(range(20)), None), val=([1, 2, 3, 4, 5], None))
    ((_, text),) = find_duplicates(splits)
    assert text.endswith("found 5: records 0, 1, 2, ...")


def test_same_image_with_the_same_label_within_a_split_is_allowed(planted):
    assert list(find_duplicates(planted(train=([1, 1, 2], None)))) == []


def test_image_with_two_labels_is_found(planted):
    ((split, text),) = find_duplicates(planted(train=([4, 5, 4, 6], [1, 2, 0, 0])))
    assert split == "train"
    assert text == "expected one label for each image, found 1 with two: records 0"


def test_image_with_another_label_in_another_split_is_found_as_both(planted):
    found = list(find_duplicates(planted(train=([4, 5], [1, 2]), test=([9, 4], [0, 2]))))
    assert found == [
        ("test", "expected no image that is in train too, found 1: records 1"),
        ("test", "expected one label for each image, found 1 with two: records 1"),
    ]
