"""The Examples artifact: the one place that knows how ExampleGen's shards are named, compressed, encoded and described.

What a data set is (shape, encoding, classes, counts) is written once, as properties of the artifact, and everything
that reads examples asks them; no setting is consulted. A record whose image is stored in another way than the artifact
says is an error in each reader. TensorFlow is imported by the methods that need it, so that a report need not wait.

Synopsis:

    examples = Examples.open(artifact.uri, properties)                         # the artifact's own
    examples.image_shape, examples.class_names                                 # (28, 28), ("T-shirt/top", ...)
    examples.counts["train"]                                                   # e.g. 55000
    for records in examples.records("train").batch(2048):                      # string [batch]
        images, labels = examples.parse(records)          # uint8 [batch, height, width, channels], int64 [batch]
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import ArtifactError
from models.features import IMAGE, LABEL, MAGIC

if TYPE_CHECKING:
    import tensorflow as tf

_READ_BUFFER = 1 << 20
_ENDINGS = {"": "", "GZIP": ".gz"}
_AS_JSON = ("image_shape", "class_names", "class_values", "counts", "parts")


class ExamplesError(ArtifactError):
    """An Examples artifact is not what it says of itself; told in one line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """An Examples artifact.

    Attributes:
      folder: of the artifact; each split has a folder in it.
      encoding: of the images: "tensor", "jpeg" or "png".
      compression: of the shards: "" or "GZIP".
      image_shape: (height, width) or (height, width, channels).
      image_fit: how images of another size were fitted into it: "pad", "crop" or "stretch".
      class_names: by label.
      class_values: the label that each class has in the user's files.
      counts: number of examples by split.
      digest: SHA-256 over all shards, hexadecimal.
      span_name: of the span that they are, "" for data that do not come in spans, and for several.
      parts: of several spans, in the order of their shards, the name of each and its number of shards by split.
    """

    folder: Path
    encoding: str
    compression: str
    image_shape: tuple[int, ...]
    image_fit: str = "pad"
    class_names: tuple[str, ...]
    class_values: tuple[int | str, ...] = ()
    counts: dict[str, int]
    digest: str
    span_name: str = ""
    parts: tuple[tuple[str, dict[str, int]], ...] = ()

    @classmethod
    def open(cls, folder: str | Path, properties: Mapping[str, str]) -> "Examples":
        """Returns the examples in `folder`, described by the custom properties of their artifact.

        Raises:
          ExamplesError: a property is missing: another version of this project wrote the artifact.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name != "folder"]
        missing = [name for name in names if name not in properties]
        if missing:
            raise ExamplesError(
                f"{folder}: expected examples that say their {', '.join(missing)}, found an artifact of another "
                "version of this project. Run ExampleGen again."
            )
        values = {name: json.loads(properties[name]) if name in _AS_JSON else properties[name] for name in names}
        tuples = {name: tuple(values[name]) for name in ("image_shape", "class_names", "class_values")}
        tuples["parts"] = tuple((name, shards) for name, shards in values["parts"])
        return cls(folder=Path(folder), **{**values, **tuples})

    def properties(self) -> dict[str, str]:
        """Returns what `open` takes: the custom properties of the artifact."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "folder"}
        return {name: json.dumps(value) if name in _AS_JSON else value for name, value in values.items()}

    def split_folder(self, split: str) -> Path:
        """Returns the folder of a split, as TFX names it."""
        return split_folder(self.folder, split)

    def shards(self, split: str) -> tuple[Path, ...]:
        """Returns the shards of a split in their order.

        Raises:
          ExamplesError: one of them is missing.
        """
        found = tuple(sorted(self.split_folder(split).glob("data_tfrecord-*")))
        expected = tuple(
            self.split_folder(split) / shard_name(n, len(found), self.compression) for n in range(len(found))
        )
        if not found or found != expected:
            raise ExamplesError(
                f"{self.split_folder(split)}: expected all shards of the split, found "
                f"{', '.join(path.name for path in found) or 'none'}. Delete the artifact and run again."
            )
        return found

    def spans(self, split: str) -> tuple[str, ...]:
        """Returns for each shard of a split the span that it is of, "" where the data do not come in spans."""
        if not self.parts:
            return (self.span_name,) * len(self.shards(split))
        return tuple(name for name, shards in self.parts for _ in range(shards[split]))

    def records(self, split: str) -> "tf.data.Dataset":
        """Returns the serialized `tf.train.Example`s of a split, in the order of the shards."""
        return open_shards(self.shards(split), self.compression)

    def parse(self, records: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        """Parses serialized examples, string [batch].

        Returns:
          images, uint8 [batch, height, width, channels], and labels, int64 [batch].

        Raises:
          tf.errors.InvalidArgumentError: a record is none, or its image is not stored as the artifact says.
        """
        import tensorflow as tf

        from models.images import decode_images

        features = {IMAGE: tf.io.FixedLenFeature([], tf.string), LABEL: tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(records, features)
        return decode_images(parsed[IMAGE], self.image_shape, encoding=self.encoding), parsed[LABEL]

    def check(self, images: list[bytes], where: str) -> None:
        """Raises `ExamplesError` unless each image begins as the artifact's encoding does."""
        for encoded in images:
            found = encoding_of(encoded)
            if found != self.encoding:
                raise ExamplesError(
                    f"{where}: expected images stored as {self.encoding}, as the artifact {self.folder} says, found "
                    f"{found}. Delete the artifact and run again."
                )


def is_own_shard(path: Path) -> bool:
    """Whether a file has the name that TFX, and so this project, gives to shards."""
    return path.name.startswith("data_tfrecord-")


def split_folder(folder: Path, split: str) -> Path:
    """Returns the folder of a split in that of an artifact which has some, as TFX names it."""
    return folder / f"Split-{split}"


def encoding_of(encoded: bytes) -> str:
    """Returns how an image is stored, by how its bytes begin; what is no picture is taken for a tensor."""
    return next((name for name, magic in MAGIC.items() if encoded.startswith(magic)), "tensor")


def shard_name(number: int, shards: int, compression: str) -> str:
    """Returns the file name that TFX gives shard `number` of `shards`."""
    return f"data_tfrecord-{number:05d}-of-{shards:05d}{_ENDINGS[compression]}"


def open_shards(paths: tuple[Path, ...], compression: str) -> "tf.data.Dataset":
    """Returns the records of TFRecord files, in order, as a data set of strings."""
    import tensorflow as tf

    return tf.data.TFRecordDataset(list(map(str, paths)), compression, buffer_size=_READ_BUFFER)


def compression_of(path: Path) -> str:
    """Returns how a TFRecord file that no artifact describes is compressed, "" or "GZIP", by its first bytes."""
    with path.open("rb") as stream:
        return "GZIP" if stream.read(2) == b"\x1f\x8b" else ""
