"""What was learned, written and read again: the same answers, and one line where it cannot be had."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from models.config import NetworkConfig
from models.networks import NetworkInputs, build_network
from models.trained import LEARNED_FILE, WEIGHTS_FILE, Trained, TrainedError, load_trained, read_trained, save_trained

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 12, 10, 1), np.uint8)
MOMENTS = {"mean": RNG.uniform(0, 255, (12, 10, 1)), "variance": RNG.uniform(0, 9_000, (12, 10, 1))}
NETWORK = NetworkConfig(stem_size=3, widths=(8, 6), blocks=(1, 0), pools=(True, False), members=2)


@pytest.fixture(scope="module")
def network():
    """A network with a stem made of data, which reading cannot derive again."""
    inputs = NetworkInputs(input_shape=(12, 10, 1), classes=3, sample=IMAGES, **MOMENTS)
    return build_network(NETWORK, inputs, seed=4)


@pytest.fixture(scope="module")
def trained(network) -> Trained:
    names = ("ant", "bee", "cat")
    options = {"image_shape": (12, 10), "class_names": names, "temperature": 1 / 3, "weights": network.get_weights()}
    return Trained(network=NETWORK, **options, **MOMENTS)


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    save_trained(tmp_path / "trained", trained)
    return tmp_path / "trained"


def test_loaded_model_gives_the_logits_of_the_saved_one_bit_for_bit(trained, folder):
    np.testing.assert_array_equal(load_trained(folder)(IMAGES), trained.model()(IMAGES))


def test_logits_are_those_of_the_network_divided_by_the_temperature(network, folder):
    np.testing.assert_allclose(load_trained(folder)(IMAGES), 3 * network(IMAGES).numpy(), rtol=1e-6)


def test_model_computes_in_float32_throughout(folder):
    assert {layer.compute_dtype for layer in load_trained(folder)._flatten_layers()} == {"float32"}


def test_all_that_was_saved_is_read(trained, folder):
    found = read_trained(folder)
    for name in ("network", "image_shape", "class_names", "temperature"):
        assert getattr(found, name) == getattr(trained, name)
    for name in ("mean", "variance"):
        np.testing.assert_array_equal(getattr(found, name), MOMENTS[name], strict=True)
    for weight, same in zip(found.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(weight, same, strict=True)


def test_folder_holds_nothing_that_is_taken_for_a_saved_model(folder):
    assert {path.name for path in folder.iterdir()} == {LEARNED_FILE, WEIGHTS_FILE} == {"learned.json", "weights.npz"}


def test_folder_whose_writing_was_killed_is_not_read(trained, folder, monkeypatch):
    """Not even where an earlier result lay there."""

    def kill(path, **arrays):
        Path(path).write_bytes(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", kill)
    with pytest.raises(KeyboardInterrupt):
        save_trained(folder, trained)
    with pytest.raises(TrainedError, match=r"expected learned.json and weights.npz, .* found FileNotFoundError"):
        load_trained(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (LEARNED_FILE, b""),
        (LEARNED_FILE, b"{}"),
        (LEARNED_FILE, b"[]"),
        (WEIGHTS_FILE, b""),
        (WEIGHTS_FILE, b"PK\x03\x04"),
    ],
    ids=["empty", "no settings", "a list", "no weights", "cut weights"],
)
def test_damaged_folder_is_refused_in_one_line_that_names_it(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(
        TrainedError, match=r"as a finished training leaves them, found .*Run the Trainer again\.$"
    ) as error:
        load_trained(folder)
    assert str(error.value).startswith(f"{folder}: ")
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(trained, folder):
    # The stem is one; a member's are one of each convolution, three of its norm, and the head: 3 * 4 + 1.
    values = json.loads((folder / LEARNED_FILE).read_text())
    values["network"]["members"] = 1
    (folder / LEARNED_FILE).write_text(json.dumps(values))
    with pytest.raises(TrainedError, match=r"^network residual: .* shapes of the 14 weights .* found 27 weights that"):
        load_trained(folder)
    wider = dataclasses.replace(trained, network=dataclasses.replace(NETWORK, widths=(8, 7)))
    with pytest.raises(TrainedError, match="found 27 weights that do not fit"):
        wider.model()
