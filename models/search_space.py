"""What a search may change of a recipe, and how a recipe is made of what it found.

The values have the names of the settings below `training.` and their text where a setting is a list, so that what was
found can be given to `--set` as it is.

Synopsis:

    hp = keras_tuner.HyperParameters()
    search_space(hp, config)                                   # declares what may be searched
    with_values(config, {"learning_rate": 0.08, "network.widths": "24,48,96"})
"""

import dataclasses
import sys
from collections.abc import Collection, Mapping

import keras_tuner

from models.config import TrainingConfig

# Of the widths of the committed network.
_WIDER = (0.75, 1.0, 1.25)


def search_space(hp: keras_tuner.HyperParameters, config: TrainingConfig, largest: int = sys.maxsize) -> None:
    """Declares each hyperparameter around its value in `config`, which is the default; no batch is above `largest`."""
    rate, size = config.peak_rate, min(config.batch_size, largest)
    hp.Float("learning_rate", rate / 3, rate * 3, sampling="log", default=rate)
    hp.Choice("batch_size", sorted({max(1, size // 2), size, min(size * 2, largest)}), default=size)
    hp.Float("warmup", 0.0, max(0.3, config.warmup), step=0.01, default=config.warmup)
    hp.Float("label_smoothing", 0.0, max(0.3, config.label_smoothing), step=0.05, default=config.label_smoothing)
    hp.Int("shift", 0, max(3, config.shift), default=config.shift)
    hp.Choice("erase", sorted({0, 4, 8, config.erase}), default=config.erase)
    dropout = config.network.dropout
    hp.Float("network.dropout", 0.0, max(0.5, dropout), step=0.1, default=dropout)
    widths = [tuple(max(1, round(width * factor)) for width in config.network.widths) for factor in _WIDER]
    hp.Choice("network.widths", list(dict.fromkeys(map(_as_text, widths))), default=_as_text(config.network.widths))


def hyperparameters(
    config: TrainingConfig, given: Collection[str] = (), largest: int = sys.maxsize
) -> keras_tuner.HyperParameters:
    """Returns the search space of a recipe, in which the settings that a person gave are fixed.

    Args:
      config: the recipe.
      given: names of settings below `training.`.
      largest: number of images that a step can be fitted to (`models.recipe.largest_batch`).
    """
    hp = keras_tuner.HyperParameters()
    search_space(hp, config, largest)
    space = keras_tuner.HyperParameters()
    for parameter in hp.space:
        if parameter.name in given:
            space.Fixed(parameter.name, parameter.default)
        else:
            space.merge([parameter])
    return space


def with_values(config: TrainingConfig, values: Mapping[str, object]) -> TrainingConfig:
    """Returns a recipe with some values in the place of its own.

    Raises:
      ValueError: a value is out of range.
    """
    own, network = {}, {}
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        (network if group else own)[leaf] = value
    if isinstance(network.get("widths"), str):
        network["widths"] = tuple(map(int, network["widths"].split(",")))
    return dataclasses.replace(config, **own, network=dataclasses.replace(config.network, **network))


def _as_text(widths: tuple[int, ...]) -> str:
    return ",".join(map(str, widths))
