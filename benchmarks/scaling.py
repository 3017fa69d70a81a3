"""Generated images by the million, for docs/scaling.md: all different, of ten classes, as IDX files.

python -m benchmarks.scaling FOLDER 700000      # 600,000 of training and 100,000 of test
python local_runner.py --data-dir FOLDER --to Transform --output-root OUTPUT
"""

import argparse
import struct
from pathlib import Path

import numpy as np

SIDE, CLASSES, BLOCK, SEED = 28, 10, 10_000, 7
# Of all images, as in Fashion-MNIST.
TEST_SHARE = 1 / 7


def images_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns an image for each label, a bright band at its height on noise: uint8 [n, 28, 28]."""
    rows = np.arange(SIDE)[None, :] * CLASSES // SIDE == labels[:, None]
    noise = rng.integers(0, 100, (len(labels), SIDE, SIDE), np.uint8)
    return noise + np.uint8(120) * rows[:, :, None].astype(np.uint8)


def idx_header(*shape: int) -> bytes:
    """Returns how an IDX file of uint8 values in this shape begins."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


def write(folder: Path, part: str, count: int, rng: np.random.Generator) -> None:
    """Writes images and labels of a part of the data, a block at a time."""
    with (
        (folder / f"{part}-images-idx3-ubyte").open("wb") as images,
        (folder / f"{part}-labels-idx1-ubyte").open("wb") as labels,
    ):
        images.write(idx_header(count, SIDE, SIDE))
        labels.write(idx_header(count))
        for start in range(0, count, BLOCK):
            numbers = (np.arange(start, min(start + BLOCK, count)) % CLASSES).astype(np.uint8)
            images.write(images_of(numbers, rng).tobytes())
            labels.write(numbers.tobytes())


def main() -> None:
    """Writes the data set that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="Generates images as IDX files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=int)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    test = round(arguments.images * TEST_SHARE)
    write(arguments.folder, "train", arguments.images - test, rng)
    write(arguments.folder, "t10k", test, rng)


if __name__ == "__main__":
    main()
