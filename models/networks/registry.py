"""The networks that can be trained, by name: `NetworkConfig.kind` says which.

A network is a function from a config to a model of [batch, classes]; ensembles are its own affair. Trainer,
calibration, export and the count of multiply-adds suppose nothing else. In training a network may give the logits of
several members, [batch, members, classes], which are then fitted each for itself (`models/objective.py`).

Synopsis:

    @network("linear")
    def linear(config, inputs, *, seed, policy="float32"):
        head = keras.layers.Dense(inputs.classes, kernel_initializer=keras.initializers.GlorotNormal(seed))
        return keras.Sequential([keras.Input(inputs.input_shape), keras.layers.Flatten(), head])

    inputs = NetworkInputs(input_shape=(28, 28, 1), classes=10, mean=mean, variance=variance, sample=images)
    model = build_network(NetworkConfig(kind="linear"), inputs, seed=0)
    model(images)                           # raw pixels, uint8 or float32 [batch, 28, 28, 1], to float32 [batch, 10]
"""

import dataclasses
import difflib
from collections.abc import Callable

import keras
import numpy as np

from models.config import NetworkConfig
from models.networks.both_sides import both_sides


# Compared by identity: arrays have no single answer to `==`.
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NetworkInputs:
    """What the data say to a network.

    Attributes:
      input_shape: (height, width, channels) of the images.
      classes: number of classes.
      mean, variance: of each pixel over the training split, float64 [height, width, channels].
      sample: some training images, uint8 [n, height, width, channels], for weights that are derived from data. Where
        weights that were learned take the place of the initial ones, they are blank: no shape may depend on them.
    """

    input_shape: tuple[int, int, int]
    classes: int
    mean: np.ndarray
    variance: np.ndarray
    sample: np.ndarray


# Called as build(config, inputs, seed=..., policy=...); the seed is that of the initial weights, the policy Keras's for
# everything but the logits, "float32" or "mixed_bfloat16".
Network = Callable[..., keras.Model]

NETWORKS: dict[str, Network] = {}


def network(name: str) -> Callable[[Network], Network]:
    """Registers the function it decorates as the network of that name.

    Raises:
      ValueError: another module has one of that name.
    """

    def register(build: Network) -> Network:
        modules = {build.__module__, NETWORKS.setdefault(name, build).__module__}
        if len(modules) > 1:
            raise ValueError(
                f"network {name}: expected one module to register it, found {' and '.join(sorted(modules))}."
            )
        NETWORKS[name] = build
        return build

    return register


def check_kind(kind: str) -> None:
    """Raises `ValueError` unless there is a network of that name."""
    if kind not in NETWORKS:
        (nearest,) = difflib.get_close_matches(kind, NETWORKS, 1, cutoff=0)
        raise ValueError(
            f"kind: expected a network of models/networks ({', '.join(sorted(NETWORKS))}), found {kind}. "
            f"Did you mean {nearest}?"
        )


def build_network(config: NetworkConfig, inputs: NetworkInputs, *, seed: int, policy: str = "float32") -> keras.Model:
    """Builds the untrained network that `config.kind` names.

    Args:
      config: which network, and its shape.
      inputs: what the data say to it.
      seed: of the initial weights.
      policy: Keras's dtype policy between standardization and logits; the weights are float32 under each.

    Returns:
      A model from raw pixels [batch, height, width, channels] to logits, float32 [batch, classes].

    Raises:
      ValueError: there is no such network, or its logits have another shape or dtype.
    """
    check_kind(config.kind)
    model = NETWORKS[config.kind](config, inputs, seed=seed, policy=policy)
    logits = model(keras.KerasTensor((None, *inputs.input_shape)))
    if (logits.shape, logits.dtype) != ((None, inputs.classes), "float32"):
        raise ValueError(
            f"network {config.kind}: expected logits float32 {[None, inputs.classes]}, found {logits.dtype} "
            f"{list(logits.shape)}. Its last layer wants one output a class and dtype float32."
        )
    return both_sides(model, inputs.input_shape) if config.mirrored_view else model
