"""Networks by name; one that this project does not have, from its training to its served form."""

import re
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import networks
from models.config import NetworkConfig, TrainingConfig
from models.export import export_model
from models.features import TRAIN, VAL
from models.graph_summary import multiply_adds
from models.input_pipeline import first_records, open_split
from models.networks import NETWORKS, NetworkInputs, build_network, registry
from models.recipe import augmented_batches, compile_model, pace_of
from models.trained import load_trained, save_trained
from models.trainer import train_model
from pipeline.run.code_digest import ROOT
from tests.served_models import NAMES, SHAPE, banded_images, held_split, write_examples

LABELS = np.arange(120) % 3
INPUTS = NetworkInputs(
    input_shape=(9, 7, 1),
    classes=3,
    mean=np.full((9, 7, 1), 90.0),
    variance=np.full((9, 7, 1), 8_100.0),
    sample=banded_images(LABELS[:9])[..., None],
)


@pytest.fixture
def dense() -> Iterator[str]:
    """Registers a network of the simplest kind, a dense layer on the standardized pixels, and returns its name."""

    def build(config, inputs, *, seed, policy="float32"):
        head = keras.layers.Dense(inputs.classes, kernel_initializer=keras.initializers.GlorotNormal(seed))
        normalization = keras.layers.Normalization((1, 2, 3), inputs.mean, inputs.variance)
        return keras.Sequential([keras.Input(inputs.input_shape), normalization, keras.layers.Flatten(), head])

    registry.network("dense")(build)
    yield "dense"
    del NETWORKS["dense"]


def test_registered_network_is_built_by_its_name(dense):
    model = build_network(NetworkConfig(kind=dense), INPUTS, seed=3)
    same, other = (build_network(NetworkConfig(kind=dense), INPUTS, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(model.get_weights()[0], same.get_weights()[0])
    assert not np.array_equal(model.get_weights()[0], other.get_weights()[0])


def test_every_network_of_the_folder_is_registered_as_soon_as_the_package_is_imported():
    folder = Path(networks.__file__).parent
    modules = {f"models.networks.{path.stem}" for path in folder.glob("*.py") if "\n@network(" in path.read_text()}
    assert {build.__module__ for build in NETWORKS.values()} == modules >= {"models.networks.residual"}


def test_unknown_network_is_refused_with_the_nearest_and_all(dense):
    told = r"\(dense, plain, residual\), found residul\. Did you mean residual\?$"
    with pytest.raises(ValueError, match=told) as error:
        build_network(NetworkConfig(kind="residul"), INPUTS, seed=0)
    assert str(error.value).startswith("kind: expected a network of models/networks")
    assert "\n" not in str(error.value)


def test_name_registered_by_two_modules_is_refused_with_both():
    def build(config, inputs, *, seed, policy="float32"): ...

    with pytest.raises(ValueError, match=r"^network residual: .* models.networks.residual and .*test_registry\.$"):
        registry.network("residual")(build)
    assert NETWORKS["residual"].__module__ == "models.networks.residual"


@pytest.fixture
def pooled() -> Iterator[str]:
    """Registers the network of docs/extending.md, and returns its name."""
    text = (ROOT / "docs" / "extending.md").read_text()
    (code,) = re.findall(r"```python\n(# models/networks/pooled\.py.*?)```", text, re.DOTALL)
    exec(code, {"__name__": __name__})
    yield "pooled"
    del NETWORKS["pooled"]


@pytest.mark.slow  # trainings
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("kind", [*sorted(NETWORKS), "pooled"])
def test_border_that_never_varies_says_nothing_when_it_is_lit(pooled, kind, shift):
    """By a shift in training, by a faint pixel in what is served."""
    # Stripes that lie, stripes that stand, and none: told apart wherever they are.
    rows, columns = np.indices((8, 8))
    stripes = np.stack([rows % 4 // 2, columns % 4 // 2, np.full((8, 8), 0.5)])[LABELS] * 200
    noise = np.random.default_rng(0).integers(0, 50, (len(LABELS), 8, 8))
    images = np.pad((stripes + noise).astype(np.uint8), ((0, 0), (3, 3), (3, 3)))[..., None]
    network = NetworkConfig(kind=kind, widths=(16, 32), blocks=(0, 0), pools=(True, True))
    config = TrainingConfig(
        network=network,
        epochs=4,
        batch_size=20,
        learning_rate=0.05,
        shift=shift,
        erase=0,
        flip=False,
        precision="float32",
    )
    train = held_split(images, LABELS, NAMES)
    model = compile_model(config, train, mean=images.mean(axis=0), variance=images.var(axis=0), seed=1)
    steps = pace_of(config, train).steps
    model.fit(augmented_batches(train, config, seed=1), steps_per_epoch=steps, epochs=4, shuffle=False, verbose=0)
    answers = np.argmax(model(images), axis=-1)
    assert np.mean(answers == LABELS) > 0.9
    lit = images.copy()
    lit[:, 0, 0] = 5
    np.testing.assert_array_equal(np.argmax(model(lit), axis=-1), answers)


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (keras.layers.Dense(4), r"float32 \[None, 4\]"),
        (keras.layers.Dense(3, dtype="mixed_bfloat16"), r"bfloat16 \[None, 3\]"),
        (keras.layers.Reshape((63, 1)), r"float32 \[None, 63, 1\]"),
    ],
    ids=["classes", "dtype", "rank"],
)
@pytest.mark.parametrize("mirrored_view", [False, True])
def test_network_without_a_float32_logit_a_class_is_refused(monkeypatch, layer, found, mirrored_view):
    def build(config, inputs, *, seed, policy="float32"):
        return keras.Sequential([keras.Input(inputs.input_shape), keras.layers.Flatten(), layer])

    monkeypatch.setitem(NETWORKS, "wrong", build)
    with pytest.raises(ValueError, match=rf"^network wrong: expected logits float32 \[None, 3\], found {found}\."):
        build_network(NetworkConfig(kind="wrong", mirrored_view=mirrored_view), INPUTS, seed=0)


def test_multiply_adds_are_those_of_kernels_and_matrices_by_hand():
    images = keras.Input((9, 7, 2))
    x = keras.layers.Conv2D(4, (3, 2))(images)  # 7 x 6 positions, a kernel of 3 x 2 x 2 x 4
    x = keras.layers.DepthwiseConv2D(3, strides=2)(x)  # 3 x 2 positions, a kernel of 3 x 3 x 4
    x = keras.layers.Dense(5)(x)  # 3 x 2 positions, 4 x 5
    x = keras.layers.Dense(3)(keras.layers.Flatten()(x))  # 30 x 3
    nested = keras.Sequential([keras.Input((9, 7, 2)), keras.Model(images, x)])
    assert multiply_adds(nested, (9, 7, 2)) == 42 * 48 + 6 * 36 + 6 * 20 + 90


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_another_network_is_trained_saved_and_served_by_the_same_code(dense, tmp_path, precision):
    data = banded_images(LABELS), LABELS
    examples = write_examples(tmp_path / "examples", {TRAIN: data, VAL: data})
    config = TrainingConfig(
        network=NetworkConfig(kind=dense), epochs=1, batch_size=10, learning_rate=0.01, precision=precision
    )
    train, val = (open_split(examples, split, memory=2**20, scratch=tmp_path) for split in (TRAIN, VAL))
    moments = {"mean": INPUTS.mean, "variance": INPUTS.variance}
    paths = {"log_dir": tmp_path / "logs", "checkpoint_path": tmp_path / "state.npz"}
    trained, report = train_model(config, train, val, seed=1, **moments, **paths)
    assert report["val_accuracy"] > 0.9
    assert report["multiply_adds"] == 63 * 3
    assert report["parameters"] >= 63 * 3 + 3
    save_trained(tmp_path / "trained", trained)
    model = load_trained(tmp_path / "trained")
    export_model(model, tmp_path / "served", SHAPE, NAMES, first_records(examples, VAL, 4))
    answer = tf.saved_model.load(str(tmp_path / "served")).signatures["predict_images"](images=tf.constant(data[0]))
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(model(val.images)), atol=1e-6)
    right = answer["class_id"].numpy() == LABELS
    assert right.mean() == pytest.approx(report["val_accuracy"])
