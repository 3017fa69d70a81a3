"""Presets: names for values of the settings, and nothing else; adding one is one entry of PRESETS.

Smoke, test and full runs take the same code path.

Synopsis:

    config = preset("fast", seed=7, output_root=Path("output"))
"""

import dataclasses

from components.errors import InputError
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
    "fast": {},
    "best": {
        # Neither more width, depth nor epochs paid; a stage at full resolution and an ensemble did (docs/LOG.md).
        "training.network.widths": (32, 64, 128, 256),
        "training.network.blocks": (1, 1, 1, 1),
        "training.network.pools": (False, True, True, True),
        "training.network.members": 3,
        "training.epochs": 10,
        "training.learning_rate": 0.06,
        "training.shift": 1,
    },
}


def preset(name: str, /, **changes: object) -> PipelineConfig:
    """Returns the configuration of a preset with `changes` to its fields.

    Raises:
      InputError: there is no such preset, or a value is out of range.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: expected {', '.join(PRESETS)}.")
    config = build({**flatten(PipelineConfig()), "preset": name, **PRESETS[name]})
    return dataclasses.replace(config, **changes)
