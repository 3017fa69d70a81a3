"""Splits and shards: sizes, disjointness, proportions and reproducibility."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.errors import InputError
from components.example_gen.idx import read_idx
from components.example_gen.splits import plan_splits, shard_ranges, split_indices, split_sizes

FREE = (None, None, None)

GOLDEN = {
    "plain train": [522, 409, 86, 441, 309, 514],
    "plain val": [347, 445, 190, 517, 466, 506],
    "stratified train": [569, 412, 458, 446, 431, 146],
    "stratified val": [547, 218, 195, 28, 290, 48],
}
BALANCED = np.arange(600, dtype=np.uint8) % 10


@st.composite
def draws(draw):
    """Labels and sizes of up to three splits that fit into them."""
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=3, max_size=120)), np.uint8)
    cuts = draw(st.lists(st.integers(0, len(labels)), min_size=1, max_size=3))
    bounds = sorted({0, *cuts})
    return labels, tuple(int(size) for size in np.diff(bounds)) or (len(labels),)


@given(drawn=draws(), seed=st.integers(0, 2**31 - 1), stratified=st.booleans())
def test_splits_have_the_sizes_asked_for_and_share_no_example(drawn, seed, stratified):
    labels, sizes = drawn
    parts = split_indices(labels, sizes=sizes, seed=seed, stratified=stratified)
    assert tuple(map(len, parts)) == sizes
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == sum(sizes)
    assert set(together.tolist()) <= set(range(len(labels)))


@pytest.mark.parametrize("stratified", [False, True])
def test_splits_that_take_everything_are_a_shuffled_permutation(stratified):
    parts = split_indices(BALANCED, sizes=(500, 100), seed=1, stratified=stratified)
    together = np.concatenate(parts)
    assert sorted(together.tolist()) == list(range(600))
    for part in parts:
        # Of a random order about half of the neighbours rise; a sorted or a class-by-class one is far from it.
        assert 0.4 < np.mean(np.diff(part) > 0) < 0.6
        assert 0.03 < np.mean(np.diff(BALANCED[part].astype(int)) == 0) < 0.2


@pytest.mark.parametrize("stratified", [False, True])
def test_same_seed_draws_the_same_and_another_seed_draws_another(stratified):
    first, again, other = (
        split_indices(BALANCED, sizes=(500, 100), seed=seed, stratified=stratified) for seed in (7, 7, 8)
    )
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert np.mean(one == different) < 0.1
        assert set(one.tolist()) != set(different.tolist())


def test_seed_42_draws_on_any_machine_what_it_drew_when_this_was_written():
    train, val = split_indices(BALANCED, sizes=(500, 100), seed=42, stratified=False)
    assert train[:6].tolist() == GOLDEN["plain train"]
    assert val[:6].tolist() == GOLDEN["plain val"]
    train, val = split_indices(BALANCED, sizes=(500, 100), seed=42, stratified=True)
    assert train[:6].tolist() == GOLDEN["stratified train"]
    assert val[:6].tolist() == GOLDEN["stratified val"]


@given(classes=st.integers(1, 12), each=st.integers(2, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_train_and_val_of_even_classes_are_even_to_within_one_example(classes, each, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(classes, dtype=np.uint8), each))
    train = round(share * len(labels))
    for part in split_indices(labels, sizes=(train, len(labels) - train), seed=seed, stratified=True):
        assert np.abs(np.bincount(labels[part], minlength=classes) - len(part) / classes).max() <= 1


@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=8), share=st.floats(0, 1))
@example(counts=[50] + [1] * 50, share=0.4)
def test_train_and_val_of_uneven_classes_are_in_proportion_to_within_one_example(counts, share):
    labels = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    train = round(share * len(labels))
    for part in split_indices(labels, sizes=(train, len(labels) - train), seed=0, stratified=True):
        wanted = np.array(counts) * len(part) / len(labels)
        assert np.abs(np.bincount(labels[part], minlength=len(counts)) - wanted).max() <= 1


def test_stratified_splits_of_the_real_labels_have_500_of_each_class(fashion_mnist):
    labels = read_idx(fashion_mnist / "train-labels-idx1-ubyte.gz")
    train, val = split_indices(labels, sizes=(55_000, 5_000), seed=42, stratified=True)
    assert np.bincount(labels[val]).tolist() == [500] * 10
    assert np.bincount(labels[train]).tolist() == [5_500] * 10


@pytest.mark.parametrize(
    ("requested", "sizes"),
    [
        ((None, 5_000), (55_000, 5_000)),
        ((0.9, 0.1), (54_000, 6_000)),
        ((0.5, None), (30_000, 30_000)),
        ((4_000, 500), (4_000, 500)),
        ((60_000,), (60_000,)),
        ((None,), (60_000,)),
        ((0.000_000_1, 1), (1, 1)),
    ],
    ids=str,
)
def test_numbers_fractions_and_the_rest_make_sizes(requested, sizes):
    wanted = dict(zip(("train", "val"), requested, strict=False))
    assert tuple(split_sizes("train", 60_000, wanted).values()) == sizes


@pytest.mark.parametrize(
    ("requested", "found"),
    [
        ((90, 11), "90 for train + 11 for val"),
        ((None, 100), "0 for train + 100 for val"),
        ((None, 101), "-1 for train + 101 for val"),
        ((0, 5), "0 for train + 5 for val"),
        ((-3, 5), "-3 for train + 5 for val"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused_with_what_each_split_would_have(requested, found):
    with pytest.raises(InputError) as raised:
        split_sizes("train", 100, dict(zip(("train", "val"), requested, strict=True)))
    assert str(raised.value) == (
        "split_sizes: expected at least one example for each of train, val and at most the 100 that the data have for "
        f"train, found {found}. Ask for less, or add images."
    )


@pytest.mark.parametrize(
    ("available", "sizes", "limits", "plan"),
    [
        (
            {"train": 60_000, "test": 10_000},
            FREE,
            FREE,
            {"train": {"train": 55_000, "val": 5_000}, "test": {"test": 10_000}},
        ),
        ({"train": 1_200}, FREE, FREE, {"train": {"train": 900, "val": 100, "test": 200}}),
        (
            {"train": 50, "val": 9, "test": 8},
            (None, None, 0.5),
            FREE,
            {"train": {"train": 50}, "val": {"val": 9}, "test": {"test": 4}},
        ),
        ({"train": 4}, FREE, FREE, {"train": {"train": 2, "val": 1, "test": 1}}),
        (
            {"train": 60_000, "test": 10_000},
            (None, 2_000, None),
            (4_000, 500, 1_000),
            {"train": {"train": 4_000, "val": 2_000}, "test": {"test": 1_000}},
        ),
        (
            {"train": 1_200, "val": 60},
            (None, None, 120),
            FREE,
            {"train": {"train": 1_080, "test": 120}, "val": {"val": 60}},
        ),
    ],
    ids=["as Fashion-MNIST", "one part", "three parts", "four images", "limits but for what is asked", "no test part"],
)
def test_splits_are_what_the_data_give_or_a_share_of_training(available, sizes, limits, plan):
    assert plan_splits(available, sizes, limits) == plan


def test_too_few_images_for_three_splits_are_refused():
    with pytest.raises(InputError, match="found 0 for train \\+ 1 for val \\+ 1 for test"):
        plan_splits({"train": 2}, FREE, FREE)


@given(
    groups=st.lists(st.integers(0, 30), min_size=6, max_size=120).filter(lambda groups: len(set(groups)) >= 3),
    seed=st.integers(0, 99),
    stratified=st.booleans(),
)
def test_equal_images_come_into_one_split_and_none_is_lost(groups, seed, stratified):
    groups = np.array(groups)
    labels, sizes = groups % 3, (len(groups) - 2, 1, 1)
    parts = split_indices(labels, sizes=sizes, seed=seed, stratified=stratified, groups=groups)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    for first, second in itertools.combinations(parts, 2):
        assert not set(groups[first].tolist()) & set(groups[second].tolist())


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("sizes", [(100, 10, 10), (60, 20, 4), (2, 2, 2)], ids=str)
def test_splits_of_pairs_have_the_sizes_asked_for(sizes, stratified):
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(60), 2))
    parts = split_indices(groups % 3, sizes=sizes, seed=1, stratified=stratified, groups=groups)
    assert tuple(map(len, parts)) == sizes
    assert all(np.bincount(groups[part]).max() == 2 == np.bincount(groups[part])[groups[part]].min() for part in parts)


def test_fewer_different_images_than_splits_are_refused_with_their_number():
    groups = np.repeat([0, 1], 10)
    with pytest.raises(InputError, match="expected at least 3 different images for as many splits, found 2"):
        split_indices(groups, sizes=(10, 5, 5), seed=0, stratified=True, groups=groups)


def test_groups_of_one_change_nothing():
    sizes = (500, 100)
    plain = split_indices(BALANCED, sizes=sizes, seed=3, stratified=True)
    grouped = split_indices(BALANCED, sizes=sizes, seed=3, stratified=True, groups=np.arange(600)[::-1])
    for one, other in zip(plain, grouped, strict=True):
        np.testing.assert_array_equal(one, other)


@given(examples=st.integers(0, 10**6), shards=st.integers(1, 100))
def test_shards_cover_all_examples_evenly_and_in_order(examples, shards):
    ranges = shard_ranges(examples, shards)
    assert len(ranges) == shards
    assert [start for start, _ in ranges] + [examples] == [0] + [stop for _, stop in ranges]
    sizes = [stop - start for start, stop in ranges]
    assert min(sizes) >= 0
    assert max(sizes) - min(sizes) <= 1
