"""Names of folders that TensorFlow, Beam and TFX do not take for patterns.

They look for files by glob patterns made of a folder's path: of `run [1]` they find nothing, of `a*b` they may find the
files of `aXb`, and Beam has no way to quote. TensorFlow's own reader of checkpoints does so too, so that no SavedModel
can be loaded by such a path. Whatever they read or write there is named through a link without such letters, for as
long as the block lasts; what is kept and told is the folder's own path.

Synopsis:

    with plain(Path("output/run [1]/model")) as named:      # a link in the temporary folder; else the very path
        str(named)                                          # e.g. for tf.saved_model.load
    is_plain(Path("output/run [1]"))                        # False
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Of glob(7), and so of fnmatch(3), which TensorFlow asks, and of Beam's own.
MAGIC = "*?[\\"
# Those by which TensorFlow's reader of checkpoints, and so TensorFlow Serving, does not find a model at all.
UNLOADABLE = "[\\"


def is_plain(path: Path | str) -> bool:
    """Says whether a path, wherever it leads from the root, has no letter that makes it a pattern."""
    return not set(MAGIC) & set(str(Path(path).absolute()))


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[Path]:
    """Gives a name for a folder that is no pattern: its own, or a link that is gone behind the block.

    The link lies in the temporary folder, which must be plain itself; `pipeline.scratch` sees to that.
    """
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="named-") as place:
        link = Path(place, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link
