"""Chooses which images make up each split, and in which order.

Where the data give a split of their own, it is that; the others are drawn from the training part.

Synopsis:

    plan = plan_splits({"train": 60_000, "test": 10_000}, (None, None, None), (None, None, None))
    plan["train"], plan["test"]                         # {"train": 55000, "val": 5000}, {"test": 10000}
    order = split_indices(labels, sizes=(55_000, 5_000), seed=42, stratified=True)   # two int64 arrays
    shard_ranges(55_000, shards=4)                                                   # ((0, 13750), ...)
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from components.errors import InputError
from models.features import SPLITS, TEST, TRAIN, VAL

# Of the training part, where the data give no such split: as Fashion-MNIST, 5,000 of 60,000 for validation.
SHARES = {VAL: 1 / 12, TEST: 1 / 6}


def plan_splits(
    available: Mapping[str, int], sizes: Sequence[float | None], limits: Sequence[int | None]
) -> dict[str, dict[str, int]]:
    """Returns how many examples of each part of the data go into which splits.

    Args:
      available: number of images by part, "train" and those of "val" and "test" that the data give.
      sizes: for train, val and test a number of examples (>= 1), a fraction of the part's (< 1), or None: of a part of
        its own all, else a share of the training part (`SHARES`) or, for train, the rest of it.
      limits: for each the most examples where its size is None; None for no limit.

    Raises:
      InputError: more is requested than there is, or a split would be empty.
    """
    wanted, most = dict(zip(SPLITS, sizes, strict=True)), dict(zip(SPLITS, limits, strict=True))
    plan = {}
    for part, count in available.items():
        splits = [split for split in SPLITS if split == part or (part == TRAIN and split not in available)]
        shares = {split: wanted[split] or (None if split == part else SHARES[split]) for split in splits}
        found = split_sizes(part, count, shares)
        plan[part] = {
            split: size if wanted[split] is not None else min(size, most[split] or size)
            for split, size in found.items()
        }
    return plan


def split_sizes(part: str, available: int, requested: Mapping[str, float | None]) -> dict[str, int]:
    """Turns requested sizes into numbers of examples.

    Args:
      part: that they are of, for the error.
      available: how many examples there are.
      requested: for each split a number of examples (>= 1), a fraction (< 1), or None for all that is left.

    Raises:
      InputError: more is requested than there is, or a split would be empty.
    """
    sizes = {
        split: size if size is None else max(1, round(size * available)) if 0 < size < 1 else int(size)
        for split, size in requested.items()
    }
    rest = available - sum(size for size in sizes.values() if size is not None)
    sizes = {split: rest if size is None else size for split, size in sizes.items()}
    if rest < 0 or min(sizes.values()) < 1:
        told = " + ".join(f"{size:,} for {split}" for split, size in sizes.items())
        raise InputError(
            f"split_sizes: expected at least one example for each of {', '.join(sizes)} and at most the {available:,} "
            f"that the data have for {part}, found {told}. Ask for less, or add "
            "images."
        )
    return sizes


def split_indices(
    labels: np.ndarray, *, sizes: tuple[int, ...], seed: int, stratified: bool, groups: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Draws disjoint splits from all examples, each in random order.

    Args:
      labels: integer [n].
      sizes: the size of each split, at most n together.
      seed: of the permutation; the same seed and labels give the same splits on any machine.
      stratified: whether each split has each class in the proportion in which `labels` has it: the first split to
        within one example, the next to within one of what the first left.
      groups: the group of each example, int64 [n]: those of one group come into one split, which may be larger for it.

    Returns:
      For each split its indices into `labels`: int64 [size].

    Raises:
      InputError: there are fewer groups than splits.
    """
    rng = np.random.default_rng(seed)
    if groups is not None:
        _, firsts, inverse = np.unique(groups, return_index=True, return_inverse=True)
        if len(firsts) < len(groups):
            return _split_groups(labels, np.sort(firsts), firsts[inverse], sizes, rng, seed, stratified)
    permutation = rng.permutation(len(labels))
    if not stratified:
        return tuple(np.split(permutation, np.cumsum(sizes))[:-1])
    return tuple(rng.permutation(part) for part in _stratified_parts(labels[permutation], permutation, sizes))


def _split_groups(
    labels: np.ndarray,
    firsts: np.ndarray,
    first_of: np.ndarray,
    sizes: tuple[int, ...],
    rng: np.random.Generator,
    seed: int,
    stratified: bool,
) -> tuple[np.ndarray, ...]:
    """Splits the first example of each group, and lets the others follow it."""
    if len(firsts) < len(sizes):
        raise InputError(
            f"expected at least {len(sizes)} different images for as many splits, found {len(firsts)}. Add some."
        )
    # As many fewer as there are followers, which come on top.
    fewer = [max(1, round(size * len(firsts) / len(labels))) for size in sizes]
    if sum(sizes) == len(labels) or sum(fewer) > len(firsts):
        fewer[int(np.argmax(fewer))] += len(firsts) - sum(fewer)
    drawn = split_indices(labels[firsts], sizes=tuple(fewer), seed=seed, stratified=stratified)
    return tuple(rng.permutation(np.flatnonzero(np.isin(first_of, firsts[part]))) for part in drawn)


def _stratified_parts(labels: np.ndarray, indices: np.ndarray, sizes: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yields parts of `indices`, whose labels are `labels`: each has its share of every class by largest remainder."""
    by_class = indices[np.argsort(labels, kind="stable")]
    left = np.bincount(labels)
    starts = np.cumsum(left) - left
    for size in sizes:
        quota = left * size / max(left.sum(), 1)
        taken = np.floor(quota).astype(np.int64)
        taken[np.argsort(taken - quota, kind="stable")[: size - taken.sum()]] += 1
        yield np.concatenate([by_class[start : start + count] for start, count in zip(starts, taken, strict=True)])
        starts, left = starts + taken, left - taken


def shard_ranges(examples: int, shards: int) -> tuple[tuple[int, int], ...]:
    """Cuts `examples` into `shards` contiguous ranges [start, stop) whose sizes differ by one at most."""
    bounds = [examples * shard // shards for shard in range(shards + 1)]
    return tuple(itertools.pairwise(bounds))
