"""A small served model whose answers are known, and records to ask it about.

An image of 9x7 is bright in the three rows of its class; the model's logit of a class is about the brightness of those.
"""

from pathlib import Path

import keras
import numpy as np

from components.example_gen.records import ShardFormat, write_shard
from models.examples import Examples, open_shards, shard_name
from models.export import export_model
from models.features import TRAIN
from models.input_pipeline import Split

NAMES = ("ant", "bee", "cat")
SHAPE = (9, 7)


def banded_images(classes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Returns images that the model takes for `classes`: uint8 [n, 9, 7]."""
    bright = np.arange(9)[None, :, None] // 3 == classes[:, None, None]
    noise = np.random.default_rng(seed).integers(128, 256, (len(classes), *SHAPE))
    return np.where(bright, noise, noise // 5).astype(np.uint8)


def write_split(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    shards: int = 2,
    *,
    encoding: str = "tensor",
    compression: str = "",
    bounds: list[int] | None = None,
) -> list[Path]:
    """Writes TFRecord shards as ExampleGen does, of equal size or ending at `bounds`, and returns them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = np.array_split(np.arange(len(images)), shards if bounds is None else bounds)
    paths = [folder / shard_name(number, len(parts), compression) for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        write_shard(path, [(images[part], labels[part])], ShardFormat(encoding=encoding, compression=compression))
    return paths


def write_examples(
    folder: Path, splits: dict[str, tuple[np.ndarray, np.ndarray]], class_names: tuple[str, ...] = NAMES, **options
) -> Examples:
    """Writes images and labels of each split as an Examples artifact; `options` are those of `write_split`."""
    image_shapes = {images.shape[1:] for images, _ in splits.values()}
    examples = Examples(
        folder=folder,
        encoding=options.get("encoding", "tensor"),
        compression=options.get("compression", ""),
        image_shape=image_shapes.pop(),
        class_names=class_names,
        counts={split: len(labels) for split, (_, labels) in splits.items()},
        digest="0" * 64,
    )
    for split, (images, labels) in splits.items():
        write_split(examples.split_folder(split), images, labels, **options)
    return examples


def export_banded_model(folder: Path, shards: list[Path], *, classes: int = 3, bias: float = 0.0) -> Path:
    """Exports the model; `bias` is what its first class is ahead of the others."""
    layers = [keras.Input((*SHAPE, 1)), keras.layers.Rescaling(1 / 64), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(classes)])
    kernel = np.repeat(np.eye(3, classes), 21, axis=0) / 10
    model.set_weights([kernel.astype("float32"), np.eye(1, classes)[0].astype("float32") * bias])
    records = list(open_shards(tuple(shards), "").take(64).as_numpy_iterator())
    names = NAMES if classes == 3 else tuple(map(str, range(classes)))
    export_model(model, folder, SHAPE, names, records)
    return folder


def held_split(images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Split:
    """Returns a train split in memory, uint8 [n, height, width, 1] and int64 [n], of an artifact that lies nowhere."""
    examples = Examples(
        folder=Path("nowhere"),
        encoding="tensor",
        compression="",
        image_shape=images.shape[1:3],
        class_names=class_names,
        counts={TRAIN: len(images)},
        digest="",
    )
    return Split(examples=examples, name=TRAIN, images=images, labels=labels)
