"""Tells whether the files of a data set changed, without reading them.

Synopsis:

    before = signature(data)        # the same as long as no file in it changes
"""

import hashlib
import os
from pathlib import Path

from components.example_gen.kinds.registry import list_files


def signature(folder: Path) -> str:
    """Returns a digest of the names, sizes and times of all files of a span, and of which may not be read.

    The time is that at which a file, or what is known of it, was changed: a writer can set the other one back.

    Raises:
      InputError: a folder cannot be read.
    """
    digest = hashlib.sha256()
    for path in list_files(folder).files:
        try:
            found = path.stat()
            told = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
            # A group that one joins changes no file.
            told += "" if os.access(path, os.R_OK) else " unreadable"
        except OSError:
            told = "gone"
        digest.update(f"{os.path.relpath(path, folder)}\0{told}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
