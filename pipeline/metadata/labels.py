"""`tag` and `note`: what a person says of a run, when it begins or afterwards.

Both are custom properties of the run's context, changed by themselves in one transaction: a run that goes on
writes every property of its own and none of these, so neither waits for the other and nothing is lost. summary.json has
them too; that of a run that goes on gets them with the run's next write.

Synopsis:

    store = Store(Path("output/metadata.db"))
    run = store.find_run("latest")
    label(store, run, OutputRoot("output"), add=["baseline"])["tags"]      # ["baseline"]
"""

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from components.errors import InputError
from models.files import write_text
from pipeline.metadata.connection import is_locked, locked
from pipeline.metadata.shared import own_membership
from pipeline.metadata.store import Run, Store
from pipeline.output_root import OutputRoot

NOTE, TAGS = "note", "tags"
_PATIENCE_SECONDS = 10.0
_READ = "SELECT name, string_value FROM ContextProperty WHERE context_id = ? AND name IN (?, ?)"
# As ML Metadata keeps a custom property of text.
_WRITE = "REPLACE INTO ContextProperty (context_id, name, is_custom_property, string_value) VALUES (?, ?, 1, ?)"


def check_tag(tag: str) -> str:
    """Returns a tag.

    Raises:
      InputError: it could be taken for a flag, a list, a run, an artifact or an execution.
    """
    if not re.fullmatch(r"[^\W\d_][\w.:-]*", tag) or tag == "latest" or re.fullmatch(r"[ae]\d+", tag):
        raise InputError(
            f"tag {tag!r}: expected a letter, then letters, digits and . : _ -; neither 'latest' nor the name of an "
            "artifact (a8) or execution (e8). Choose another."
        )
    return tag


def check_note(note: str) -> str:
    """Returns a note, without space around it.

    Raises:
      InputError: it holds control characters, or what no encoding has.
    """
    told = note.strip()
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in told):
        raise InputError(f"note {note!a}: expected one line of text, found control characters. Leave them out.")
    return told


def label(
    store: Store,
    run: Run,
    root: OutputRoot,
    *,
    note: str | None = None,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
) -> dict:
    """Changes note and tags of a run, and returns them.

    Args:
      store: the database.
      run: of it.
      root: the output root that both lie in.
      note: the new one; "" takes it away, None leaves it.
      add, remove: tags; to remove one that is not there, or to add one that is, changes nothing.

    Raises:
      InputError: one of them is none, or the database cannot be written.
      BusyError: another program has the database locked.
    """
    add, remove = [check_tag(tag) for tag in add], set(remove)
    note = None if note is None else check_note(note)
    with _transaction(store.path, root) as execute:
        kept = dict(execute(_READ, (run.number, NOTE, TAGS)))
        tags = list(dict.fromkeys([*json.loads(kept.get(TAGS) or "[]"), *add]))
        found = {NOTE: (kept.get(NOTE) if note is None else note) or None, TAGS: sorted({*tags} - remove)}
        execute(_WRITE, (run.number, NOTE, found[NOTE] or ""))
        execute(_WRITE, (run.number, TAGS, json.dumps(found[TAGS])))
    if run.properties.get("state") != "running":
        _tell_summary(run, root, found)
    return found


@contextlib.contextmanager
def _transaction(path: Path, root: OutputRoot) -> Iterator[Callable[[str, tuple], list[tuple]]]:
    """Yields what runs a query on the database and returns its rows."""
    if (own := own_membership(root)) is not None:
        with own.database.transaction() as execute:
            yield lambda query, parameters: [
                tuple(value.decode() if isinstance(value, bytes) else value for value in row)
                for row in execute(query, parameters)
            ]
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)) as base:
            base.execute("BEGIN IMMEDIATE")
            yield lambda query, parameters: base.execute(query, parameters).fetchall()
            base.execute("COMMIT")
    except sqlite3.Error as error:
        if is_locked(error):
            raise locked(path) from None
        raise InputError(
            f"{path}: cannot be written ({error}). Mend its permissions or free some space, and repeat."
        ) from None


def _tell_summary(run: Run, root: OutputRoot, found: dict) -> None:
    path = root.run(run.id).summary
    # A run of another runner of TFX's has none.
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        write_text(path, json.dumps({**content, **found}, indent=2) + "\n")
