"""How slices are named, and how a slicing that fails is told."""

from pathlib import Path

import numpy as np
import pytest

from components.bulk_inferrer.slicer import Slicer
from components.errors import InputError, PipelineError
from components.evaluator.slices import SLICINGS, slice_names, slicing
from components.example_gen.records import image_encoder
from models.examples import Examples

NAMES = ("ant, red", "Käfer", "cat")


@pytest.fixture
def broken(request):
    """Registers a slicing named "broken" with the function that the test asks for."""
    slicing("broken")(request.param)
    yield
    del SLICINGS["broken"]


def examples(encoding: str) -> Examples:
    return Examples(
        folder=Path("examples", "7"),
        encoding=encoding,
        compression="",
        image_shape=(4, 6),
        class_names=NAMES,
        counts={"test": 6},
        digest="",
    )


def gray(levels: list[int], encoding: str, shape: tuple[int, int] = (4, 6)) -> list[bytes]:
    encode = image_encoder(encoding, shape)
    return [encode(np.full(shape, level, np.uint8)) for level in levels]


@pytest.mark.parametrize("encoding", ["tensor", "png"])
def test_brightness_goes_by_the_mean_grey_level(encoding):
    images = gray([0, 39, 40, 109, 110, 255], encoding)
    found = Slicer(examples(encoding), ["brightness"])(images, np.zeros(6, np.int64), "here")
    assert list(found) == ["brightness"]
    assert found["brightness"].tolist() == ["dark", "dark", "medium", "medium", "bright", "bright"]


def test_class_is_the_name_of_the_label():
    found = slice_names(np.zeros((3, 4, 6, 1), np.uint8), np.array([2, 0, 1]), NAMES, ["class"])
    assert found["class"].tolist() == ["cat", "ant, red", "Käfer"]


def test_image_that_is_not_stored_as_the_artifact_says_is_an_error():
    images = [*gray([1], "tensor"), *gray([2], "png")]
    with pytest.raises(InputError, match=r"here: expected images stored as tensor, as the artifact .*, found png"):
        Slicer(examples("tensor"), SLICINGS)(images, np.zeros(2, np.int64), "here")


@pytest.mark.parametrize("encoding", ["tensor", "png"])
def test_image_of_another_shape_is_an_error(encoding):
    images = [*gray([1], encoding), *gray([1], encoding, shape=(6, 4))]
    with pytest.raises(InputError, match=r"here: expected images of 4x6, as the artifact .* says, found others"):
        Slicer(examples(encoding), SLICINGS)(images, np.zeros(2, np.int64), "here")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda images, labels, class_names: 1 / 0, "expected the slices of 3 examples, found ZeroDivisionError: "),
        (lambda images, labels, class_names: ["a", "b"], r"expected 3 names \(str\).* found an array of <U1 \[2\]"),
        (lambda images, labels, class_names: labels, r"expected 3 names \(str\).* found an array of int64 \[3\]"),
        (lambda images, labels, class_names: None, r"expected 3 names \(str\).* found an array of object \[\]"),
    ],
    indirect=["broken"],
)
def test_slicing_that_fails_is_named(broken, message):
    with pytest.raises(PipelineError, match=f"slicing broken: {message}"):
        slice_names(np.zeros((3, 4, 6, 1), np.uint8), np.zeros(3, np.int64), NAMES, SLICINGS)


@pytest.mark.parametrize("name", ["class", "label", "image", "probability", "two words", "a=b"])
def test_name_that_is_taken_or_none_is_refused(name):
    before = dict(SLICINGS)
    with pytest.raises(ValueError, match=f"slicing '?{name}'?: expected a"):
        slicing(name)(lambda images, labels, class_names: class_names)
    assert before == SLICINGS
