"""Augmentation against brute force: every image must be one of the few that flip and shift allow."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from models.augment import augment

# Every pixel of an image is different and none is zero, so that a shift can be told by looking.
GREY = np.stack([np.random.default_rng(n).permutation(np.arange(1, 100)).reshape(11, 9, 1) for n in range(64)])
COLOUR = np.random.default_rng(0).integers(1, 256, (64, 7, 10, 3))


@pytest.fixture(params=["uint8", "float32"])
def images(request) -> np.ndarray:
    return GREY.astype(request.param)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moves an image by whole pixels; zeros move in."""
    height, width, _ = image.shape
    moved = np.zeros_like(image)
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = image[
        max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    return moved


def explanations(image: np.ndarray, found: np.ndarray, shift: int, flips=(False, True)) -> list[tuple]:
    """Returns every (flip, down, right) within `shift` that makes `found` of `image`."""
    moves = itertools.product(flips, range(-shift, shift + 1), range(-shift, shift + 1))
    return [
        (flip, down, right)
        for flip, down, right in moves
        if np.array_equal(shifted(image[:, ::-1] if flip else image, down, right), found)
    ]


def run(images, seed=(7, 3), epoch=0, **options) -> np.ndarray:
    return augment(tf.constant(images), list(seed), epoch=epoch, **options).numpy()


def test_nothing_asked_for_changes_nothing(images):
    np.testing.assert_array_equal(run(images, flip=False, shift=0, erase=0), images, strict=True)


@pytest.mark.parametrize("batch", [GREY, COLOUR], ids=["11x9x1", "7x10x3"])
@pytest.mark.parametrize("shift", [1, 2, 4])
def test_each_image_is_flipped_and_shifted_by_at_most_what_is_asked(batch, shift):
    batch = batch.astype(np.uint8)
    found = run(batch, flip=True, shift=shift, erase=0)
    told = [explanations(image, after, shift) for image, after in zip(batch, found, strict=True)]
    assert all(len(reasons) == 1 for reasons in told)


def test_every_shift_occurs_about_equally_often():
    batch = np.repeat(GREY[:1], 1_000, axis=0).astype(np.uint8)
    found = run(batch, flip=True, shift=1, erase=0)
    counts = dict.fromkeys(itertools.product((-1, 0, 1), (-1, 0, 1)), 0)
    for after in np.unique(found, axis=0):
        (reason,) = explanations(GREY[0].astype(np.uint8), after, 1)
        counts[reason[1:]] = int((found == after).all(axis=(1, 2, 3)).sum())
    # 9 outcomes of 111 on average; five standard deviations are 50.
    assert sum(counts.values()) == 1_000
    assert min(counts.values()) > 60
    assert max(counts.values()) < 162


def test_images_of_odd_sum_are_mirrored_in_even_epochs_and_the_others_in_odd_ones(images):
    images = images.copy()
    images[::2, 0, 0, 0] += 1  # 1 to 99 add up to 4,950, so that every second image is odd now
    for epoch in (0, 1, 2, 3):
        expected = images.copy()
        first = epoch % 2
        expected[first::2] = expected[first::2, :, ::-1]
        np.testing.assert_array_equal(run(images, epoch=epoch, flip=True, shift=0, erase=0), expected, strict=True)


def test_sums_of_large_bright_images_keep_their_parity():
    """In float32 the sum would be above 2**24, where odd numbers end."""
    bright = np.full((1, 300, 300, 1), 255, np.uint8)
    bright[0, 0, 0, 0] = 254  # 89,999 x 255 + 254 is odd
    assert run(bright, flip=True, shift=0, erase=0)[0, 0, -1, 0] == 254
    assert run(bright, epoch=1, flip=True, shift=0, erase=0)[0, 0, 0, 0] == 254


def test_no_flip_is_made_when_none_is_asked_for(images):
    found = run(images, flip=False, shift=2, erase=0)
    for image, after in zip(images, found, strict=True):
        assert explanations(image, after, 2, flips=(False,))


@pytest.mark.parametrize("erase", [1, 3, 5])
def test_erasing_blanks_one_square_at_most_of_that_side(images, erase):
    found = run(images, flip=False, shift=0, erase=erase)
    areas = []
    for image, after in zip(images, found, strict=True):
        rows, columns = np.nonzero((after != image)[..., 0])
        areas.append(len(rows))
        if len(rows):
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert max(height, width) <= erase
            assert len(rows) == height * width
            assert not after[rows, columns].any()
    assert max(areas) == erase**2


def test_square_is_erased_in_about_the_share_of_images_asked_for():
    batch = np.full((1_000, 9, 9, 1), 7, np.uint8)
    blanked = [
        (run(batch, flip=False, shift=0, erase=9, erase_share=share) == 0).any(axis=(1, 2, 3)).sum()
        for share in (0, 0.3, 1)
    ]
    # A square of the images' side always leaves a mark. Of 300 on average, five standard deviations are 72.
    assert blanked[0] == 0
    assert 228 < blanked[1] < 372
    assert blanked[2] == 1_000


def test_erased_square_covers_all_channels():
    batch = COLOUR.astype(np.uint8)
    changed = run(batch, flip=False, shift=0, erase=4) != batch
    assert changed.any()
    np.testing.assert_array_equal(changed.any(axis=-1), changed.all(axis=-1))


@pytest.mark.parametrize("batch", [GREY, COLOUR], ids=["11x9x1", "7x10x3"])
def test_augmentation_agrees_eagerly_and_in_graph(batch, images):
    batch = batch.astype(images.dtype)
    options = {"flip": True, "shift": 2, "erase": 3}
    dataset = tf.data.Dataset.from_tensors((batch, np.arange(64))).map(
        lambda images, labels: (augment(images, [7, 3], epoch=1, **options), labels)
    )
    in_graph, labels = next(iter(dataset))
    np.testing.assert_array_equal(in_graph, run(batch, epoch=1, **options), strict=True)
    assert in_graph.shape == batch.shape
    assert labels.numpy().tolist() == list(range(64))


def test_each_image_keeps_its_place_in_the_batch():
    """Images of one grey value each: whatever moves, the value says which image it was."""
    batch = np.broadcast_to(np.arange(1, 101, dtype=np.uint8)[:, None, None, None], (100, 8, 8, 1))
    found = run(batch, flip=True, shift=3, erase=2)
    assert found.max(axis=(1, 2, 3)).tolist() == list(range(1, 101))


def test_seed_decides_alone(images):
    options = {"flip": True, "shift": 2, "erase": 3}
    first = run(images, seed=(7, 3), **options)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(run(images, seed=(7, 3), **options), first)
    for other in ((7, 4), (8, 3)):
        assert np.mean((run(images, seed=other, **options) != first).any(axis=(1, 2, 3))) > 0.9


def test_step_number_may_be_a_tensor(images):
    options = {"flip": True, "shift": 2, "erase": 0}
    epoch = tf.constant(0, tf.int64)
    seed = [tf.constant(7), tf.cast(tf.constant(3, tf.int64), tf.int32)]
    np.testing.assert_array_equal(augment(images, seed, epoch=epoch, **options), run(images, **options))
