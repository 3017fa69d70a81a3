"""Mirroring is refused where it makes one class of another: on real clothes and digits, and on drawn letters."""

import dataclasses
import math
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from components.span_window.joining import join_examples
from models.config import TrainingConfig
from models.examples import Examples
from models.features import SPLITS, TRAIN
from models.input_pipeline import open_split
from models.mirror import _neighbours, judge_mirroring, views_of
from models.networks.residual import stem_of, whitening_kernel
from models.recipe import compile_model, decide_flip
from tests.served_models import write_examples

# A stem, and a bowl at its lower right: b. The others are its mirror images.
TURNS = {"b": (), "d": (1,), "p": (0,), "q": (0, 1)}


def letters(names: str, count: int, side: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws letters of any place, size and slope: uint8 [count, side, side, 1], int64 [count]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    images = np.zeros((count, side, side, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        picture = Image.new("L", (120, 120))
        draw = ImageDraw.Draw(picture)
        left, bowl = rng.integers(25, 45), rng.integers(20, 45)
        draw.line((left, 15, left, 105), fill=255, width=9)
        draw.ellipse((left, 105 - bowl, left + bowl, 105), outline=255, width=9)
        drawn = np.asarray(picture.rotate(float(rng.uniform(-8, 8))).resize((side, side)))
        image[..., 0] = np.flip(drawn, TURNS[names[label]])
    return images, labels


def decide(images, labels, names) -> tuple[bool, str]:
    return judge_mirroring(*views_of(images), labels, names)


def test_views_are_the_whole_grey_levels_of_blocks_and_of_their_mirror_image():
    image = np.zeros((1, 32, 17, 1), np.uint8)  # blocks of 2x2; the column that is left over is cut
    image[0, :2, :2, 0] = [[10, 20], [30, 41]]
    image[0, :2, 15:, 0] = [[7, 100], [7, 100]]
    plain, mirrored = views_of(image)
    assert plain.shape == mirrored.shape == (1, 16 * 8)
    assert plain[0, [0, 7]].tolist() == [25.0, 4.0]  # 101 / 4, and (7 + 7) / 4 rounded to the even
    assert mirrored[0, [0, 7]].tolist() == [54.0, 15.0]  # (100 + 100 + 7 + 7) / 4, and (20 + 41) / 4


@pytest.mark.parametrize("width", [16, 17, 50])
def test_distances_are_those_of_the_views_whatever_columns_are_cut(width):
    rng = np.random.default_rng(1)
    views, labels = views_of(rng.integers(0, 256, (12, 20, width, 1), np.uint8)), np.arange(12) % 3
    found = _neighbours(*views, labels, np.array([0, 5]))
    for row, asked in enumerate((0, 5)):
        for view, own, other in zip(
            views, (found.own, found.own_mirrored), (found.other, found.other_mirrored), strict=True
        ):
            squares = {n: ((views[0][asked] - view[n]) ** 2).sum() + 1 for n in range(12) if n != asked}
            assert own[row] == min(squares[n] for n in squares if labels[n] == labels[asked])
            assert other[row] == min(squares[n] for n in squares if labels[n] != labels[asked])


@pytest.mark.parametrize("names", ["bd", "bdpq"])
@pytest.mark.parametrize("count", [60, 600])
def test_letters_that_are_each_other_s_mirror_image_are_not_mirrored(names, count):
    flip, reason = decide(*letters(names, count), names)
    assert not flip
    pairs = [f"'{one}' resembles a mirrored '{other}' in" for one, other in ("bd", "db", "pq", "qp")]
    assert any(pair in reason for pair in pairs)


def test_letters_of_which_none_is_another_s_mirror_image_are_mirrored():
    assert decide(*letters("bq", 600), "bq")[0], "a mirrored b is a d, and there is none"


def test_clothes_are_mirrored(fashion_images, fashion_labels):
    assert decide(fashion_images[..., None], fashion_labels.astype(np.int64), list("0123456789"))[0]


def test_digits_are_not_mirrored():
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[..., None]
    assert not decide(images, digits.target, list("0123456789"))[0]


def test_one_pair_among_many_classes_is_enough():
    """Signs that point left or right among twenty that are the same from both sides: a tenth of all images."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (20, 12, 12))
    patterns = (patterns + patterns[:, :, ::-1]) // 2
    patterns[1] = patterns[0] = rng.integers(0, 256, (12, 12))
    patterns[1] = patterns[0, :, ::-1]
    labels = np.arange(1_000) % 20
    images = np.clip(patterns[labels] + rng.normal(0, 60, (1_000, 12, 12)), 0, 255).astype(np.uint8)[..., None]
    flip, reason = decide(images, labels, [f"sign {n}" for n in range(20)])
    assert not flip
    assert "'sign 0' resembles a mirrored 'sign 1'" in reason or "'sign 1' resembles a mirrored 'sign 0'" in reason
    symmetric = ~np.isin(labels, [0, 1])
    assert decide(images[symmetric], labels[symmetric], [f"sign {n}" for n in range(20)])[0]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((1, 4, 4, 1), np.uint8), [0]),
        (np.zeros((5, 4, 4, 1), np.uint8), [0] * 5),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 1]),
        (np.arange(40, dtype=np.uint8).reshape(10, 4, 1, 1), [0, 1] * 5),
    ],
    ids=["one image", "one class", "one image a class", "one pixel wide"],
)
def test_images_that_tell_nothing_are_mirrored(images, labels):
    flip, reason = decide(images, np.array(labels), "ab")
    assert flip
    assert reason.startswith("mirror images bring another class nearer to 0 of ")


def test_beyond_four_thousand_every_so_manyth_is_looked_at():
    images, labels = letters("bd", 601)
    many, rows = np.arange(8_000) % 601, np.arange(8_000) % 2 == 0
    spoilt = np.where(rows, labels[many], 1 - labels[many])
    assert decide(images[many], spoilt, "bd") == decide(images[many[rows]], labels[many[rows]], "bd")


@pytest.fixture(scope="module")
def spans(tmp_path_factory) -> list[Examples]:
    """A span of more b and q than are looked at, and one that brings d."""
    written = []
    for number, names, count in ((1, "bq", 4_400), (2, "bqd", 900)):
        images, labels = letters(names, count, side=12, seed=number)
        splits = dict.fromkeys(SPLITS, (images[:6, ..., 0], labels[:6])) | {TRAIN: (images[..., 0], labels)}
        examples = write_examples(tmp_path_factory.mktemp("span"), splits, tuple(names))
        written.append(dataclasses.replace(examples, span_name=str(number)))
    return written


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["held", "streamed"])
def test_class_of_the_newest_span_is_asked_about_in_any_order_of_the_spans(spans, tmp_path, streamed):
    for name, order in (("forwards", spans), ("backwards", spans[::-1])):
        window = join_examples(order, tmp_path / name)
        with open_split(window, TRAIN, memory=math.inf, scratch=tmp_path, streamed=streamed) as train:
            decided, reason = decide_flip(TrainingConfig(), train)
        assert not decided.flip, name
        assert "of 2,000 images" in reason and re.search("'[bd]' resembles a mirrored '[bd]'", reason)
    with open_split(spans[0], TRAIN, memory=math.inf, scratch=tmp_path, streamed=streamed) as train:
        assert decide_flip(TrainingConfig(), train)[0].flip, "b and q alone are mirrored"


def test_stem_is_made_of_images_of_every_span(spans, tmp_path, monkeypatch):
    monkeypatch.setattr("models.input_pipeline._SAMPLE", 53)
    window = join_examples(spans, tmp_path / "window")
    moments = {"mean": np.full((12, 12, 1), 40.0), "variance": np.full((12, 12, 1), 6_400.0)}
    with open_split(window, TRAIN, memory=math.inf, scratch=tmp_path) as train:
        config = TrainingConfig(precision="float32")
        model = compile_model(config, train, **moments, seed=1)
        sample = train.images[::100]  # 44 of the first span, 9 of the second
    expected = whitening_kernel(sample, **moments, stem=stem_of(config.network, (12, 12, 1)))
    np.testing.assert_array_equal(model.get_layer("stem").kernel, expected)
