"""Gathers rows of a file of raw uint8 values, reading only those rows, and says which stand for all of them.

Rows lie one behind the other, or a stride apart.

Synopsis:

    with RowReader(plain, (60000, 28, 28)) as rows:       # plain: a file of the pixels alone
        images = rows.gather(np.array([5, 3]))            # uint8 [2, 28, 28]
    spread_rows(10, 4)                                    # array([0, 2, 5, 7])
"""

import math
import os
from pathlib import Path

import numpy as np


def spread_rows(size: int, most: int) -> np.ndarray:
    """Returns which rows stand for all `size` of them: at most `most`, ascending and evenly spread, int64 [n].

    The first ones would not do: the shards of a window go span by span, and the oldest may lack a class.
    """
    count = min(size, most)
    return np.arange(count, dtype=np.int64) * size // max(1, count)


class RowReader:
    """Gathers rows, from several threads if need be.

    A memory map would do the same but counts every touched page as resident memory.
    """

    def __init__(self, plain: Path, shape: tuple[int, ...], stride: int | None = None) -> None:
        """`stride` is from one row to the next, in bytes; None: as many as a row has."""
        self._row_shape = shape[1:]
        self._row_bytes = math.prod(self._row_shape)
        self._stride = self._row_bytes if stride is None else stride
        self._file = plain.open("rb", buffering=0)

    def __enter__(self) -> "RowReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Returns the rows at `indices` (int [n]) in that order: uint8 [n, ...].

        Raises:
          OSError: a row lies beyond the end of the file.
        """
        rows = np.empty((len(indices), self._row_bytes), np.uint8)
        descriptor = self._file.fileno()
        for row, index in zip(rows, indices.tolist(), strict=True):
            if os.preadv(descriptor, [row], index * self._stride) != self._row_bytes:
                raise OSError(f"row {index} lies beyond the end of the file")
        return rows.reshape(len(indices), *self._row_shape)
