"""Presets: names for values of the settings, and nothing else; adding one is one entry of PRESETS.

A machine that trains several times as slowly takes some values from WHERE_SLOW in their place.

Smoke, test and full runs take the same code path.

Synopsis:

    config = preset("fast", seed=7, output_root=Path("output"))
"""

import dataclasses

from components.errors import InputError
from models.precision import trains_slowly
from pipeline.config import PipelineConfig, build, flatten

# What each changes of the defaults, by dotted name.
PRESETS: dict[str, dict[str, object]] = {
    "smoke": {
        "variant": "smoke",
        "split_limits": (4_000, 500, 1_000),
        "training.network.widths": (16, 32, 64),
        "training.epochs": 4,
        "training.batch_size": 100,
    },
    "fast": {"training.epochs": 7, "training.prune": 0.4},
    "best": {
        # Neither more width, depth nor epochs paid; a stage at full resolution and an ensemble did (docs/LOG.md).
        "training.network.widths": (32, 64, 128, 256),
        "training.network.blocks": (1, 1, 1, 1),
        "training.network.pools": (False, True, True, True),
        "training.network.members": 3,
        "training.network.mirrored_view": True,
        "training.epochs": 9,
        "training.prune": 0.4,
        "training.learning_rate": 0.06,
        "training.shift": 1,
    },
}
# What a preset takes instead on a processor without bfloat16 (`models/precision.py`), so that there as well `fast` ends
# within the time of TFX's example, and `best` within twenty minutes (docs/LOG.md). As many stages as else, for what is
# set of one has to fit the others.
WHERE_SLOW: dict[str, dict[str, object]] = {
    "fast": {
        "training.network.widths": (16, 32, 64),
        "training.network.blocks": (1, 1, 2),
        "training.epochs": 8,
    },
    "best": {
        "training.network.widths": (16, 32, 64, 128),
        "training.network.members": 1,
        "training.epochs": 17,
        "training.learning_rate": 0.08,
    },
}


def changes(name: str) -> dict[str, tuple[object, str]]:
    """Returns what a preset changes of the defaults on this machine, by dotted name: value, and where it comes from.

    Raises:
      KeyError: there is no such preset.
    """
    told = {leaf: (value, f"preset {name}") for leaf, value in PRESETS[name].items()}
    if trains_slowly():
        told |= {leaf: (value, f"preset {name}, no bfloat16 here") for leaf, value in WHERE_SLOW.get(name, {}).items()}
    return told


def preset(name: str, /, **fields: object) -> PipelineConfig:
    """Returns the configuration of a preset on this machine, with some of its fields replaced.

    Raises:
      InputError: there is no such preset, or a value is out of range.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: expected {', '.join(PRESETS)}.")
    own = {leaf: value for leaf, (value, _) in changes(name).items()}
    return dataclasses.replace(build({**flatten(PipelineConfig()), "preset": name, **own}), **fields)
