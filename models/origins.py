"""Where each record of an Examples artifact comes from: the user's file, and the position in it where it holds several.

What is said of a record (a duplicate, an error of the model) can then name the image that people can look at. One
Parquet file beside the splits, in the order of the records. The names are those of the files that were read; where the
same pixels come from others later, the cache still has the examples, and these names.

Synopsis:

    write_origins(folder, {"test": Origins.of(data, [data / "a.png", data / "b.png"], [None, None], indices)})
    read_origins(folder, "test").names([0])                     # ["a.png"]
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.files import replacing

ORIGINS_FILE = "origins.parquet"
_ALONE = -1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Origins:
    """The origins of the records of a split.

    Attributes:
      files: paths relative to the data folder, each once.
      file: of each record, an index into `files`: int32 [n].
      position: of each record in its file, from 0, or -1 where the file is one image: int64 [n].
    """

    files: tuple[str, ...]
    file: np.ndarray
    position: np.ndarray

    @classmethod
    def of(
        cls, folder: Path, files: Sequence[str | Path], positions: Sequence[int | None], indices: np.ndarray
    ) -> "Origins":
        """Returns the origins of the records that are the images at `indices` (int [n]) of what was read."""
        numbers: dict[str | Path, int] = {}
        chosen = [numbers.setdefault(files[index], len(numbers)) for index in indices.tolist()]
        base = folder if folder.is_dir() else folder.parent
        return cls(
            files=tuple(os.path.relpath(path, base) for path in numbers),
            file=np.array(chosen, np.int32),
            position=np.array(
                [_ALONE if positions[index] is None else positions[index] for index in indices], np.int64
            ),
        )

    def names(self, records: Iterable[int]) -> list[str]:
        """Returns for each record what to call the image that it was made of."""
        found = [(self.files[self.file[record]], int(self.position[record])) for record in records]
        return [name if position == _ALONE else f"{name} image {position:,}" for name, position in found]


def write_origins(folder: Path, origins: dict[str, Origins]) -> None:
    """Writes the origins of each split beside the splits."""
    tables = [
        pa.table(
            {
                "split": pa.DictionaryArray.from_arrays(np.zeros(len(found.file), np.int32), [split]),
                "file": pa.DictionaryArray.from_arrays(found.file, list(found.files)),
                "position": found.position,
            }
        )
        for split, found in origins.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / ORIGINS_FILE) as partial:
        pq.write_table(pa.concat_tables(tables).unify_dictionaries(), partial)


def read_origins(folder: Path, split: str) -> Origins | None:
    """Returns the origins of a split's records, None where the artifact has none."""
    path = folder / ORIGINS_FILE
    if not path.is_file():
        return None
    table = pq.read_table(path, filters=[("split", "=", split)], read_dictionary=["file"])
    file = table["file"].combine_chunks()
    file = file if isinstance(file, pa.DictionaryArray) else file.chunk(0)
    return Origins(
        files=tuple(file.dictionary.to_pylist()),
        file=file.indices.to_numpy(),
        position=table["position"].to_numpy(),
    )
