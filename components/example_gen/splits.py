"""Chooses which images make up each split, and in which order.

Synopsis:

    order = split_indices(labels, sizes=(55_000, 5_000), seed=42, stratified=True)   # two int64 arrays
    shard_ranges(55_000, shards=4)                                                   # ((0, 13750), ...)
"""

import itertools
from collections.abc import Iterator

import numpy as np

from components.errors import InputError


def split_sizes(available: int, requested: tuple[float | None, ...]) -> tuple[int, ...]:
    """Turns requested sizes into numbers of examples.

    Args:
      available: how many examples there are.
      requested: for each split a number of examples (>= 1), a fraction (< 1), or None for all that is left.

    Raises:
      InputError: more is requested than there is, a split would be empty, or more than one asks for the rest.
    """
    if requested.count(None) > 1:
        raise InputError(f"split sizes {requested}: only one split can take the rest.")
    sizes = [None if size is None else round(size * available) if 0 < size < 1 else int(size) for size in requested]
    rest = available - sum(size for size in sizes if size is not None)
    sizes = [rest if size is None else size for size in sizes]
    if rest < 0 or min(sizes) < 1:
        raise InputError(
            f"split sizes {requested}: expected at least one example each and {available:,} in all, found "
            f"{' + '.join(f'{size:,}' for size in sizes)} = {sum(sizes):,}. Ask for less."
        )
    return tuple(sizes)


def split_indices(labels: np.ndarray, *, sizes: tuple[int, ...], seed: int, stratified: bool) -> tuple[np.ndarray, ...]:
    """Draws disjoint splits from all examples, each in random order.

    Args:
      labels: uint8 [n].
      sizes: the size of each split, at most n together.
      seed: of the permutation; the same seed and labels give the same splits on any machine.
      stratified: whether each split has each class in the proportion in which `labels` has it: the first split to
        within one example, the next to within one of what the first left.

    Returns:
      For each split its indices into `labels`: int64 [size].
    """
    rng = np.random.default_rng(seed)
    permutation = rng.permutation(len(labels))
    if not stratified:
        return tuple(np.split(permutation, np.cumsum(sizes))[:-1])
    return tuple(rng.permutation(part) for part in _stratified_parts(labels[permutation], permutation, sizes))


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
