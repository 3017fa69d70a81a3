"""A small served model whose answers are known, and records to ask it about.

An image of 9x7 is bright in the three rows of its class; the model's logit of a class is about the brightness of those.
"""

from pathlib import Path

import keras
import numpy as np

from components.records import ShardFormat, shard_name, write_shard
from models.export import export_model
from models.input_pipeline import first_records, open_split

NAMES = ("ant", "bee", "cat")
SHAPE = (9, 7)


def banded_images(classes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Returns images that the model takes for `classes`: uint8 [n, 9, 7]."""
    bright = np.arange(9)[None, :, None] // 3 == classes[:, None, None]
    noise = np.random.default_rng(seed).integers(128, 256, (len(classes), *SHAPE))
    return np.where(bright, noise, noise // 5).astype(np.uint8)


def write_split(folder: Path, images: np.ndarray, labels: np.ndarray, shards: int = 2) -> list[Path]:
    """Writes TFRecord shards as ExampleGen does and returns them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / shard_name(number, shards, "") for number in range(shards)]
    parts = np.array_split(np.arange(len(images)), shards)
    for path, part in zip(paths, parts, strict=True):
        write_shard(path, [(images[part], labels[part])], ShardFormat(encoding="tensor", compression=""))
    return paths


def export_banded_model(folder: Path, shards: list[Path], *, classes: int = 3, bias: float = 0.0) -> Path:
    """Exports the model; `bias` is what its first class is ahead of the others."""
    layers = [keras.Input((*SHAPE, 1)), keras.layers.Rescaling(1 / 64), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(classes)])
    kernel = np.repeat(np.eye(3, classes), 21, axis=0) / 10
    model.set_weights([kernel.astype("float32"), np.eye(1, classes)[0].astype("float32") * bias])
    split = open_split(list(map(str, shards)), image_shape=SHAPE, cache_mib=1)
    names = NAMES if classes == 3 else tuple(map(str, range(classes)))
    export_model(model, str(folder), SHAPE, names, first_records(split, 64))
    return folder
