"""Serves an earlier version again: python -m pipeline.rollback [VERSION] [--output-root OUTPUT]."""

import argparse
import sys
from pathlib import Path

from components.errors import InputError
from components.pusher.serving_folder import nothing_served, rollback, served_version, versions
from pipeline.output_root import DEFAULT, OutputRoot
from pipeline.project import program


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 where there is no such version."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.rollback"), description=__doc__, allow_abbrev=False
    )
    parser.add_argument("version", nargs="?", type=int, help="the one to serve; default: the one before")
    parser.add_argument("--output-root", type=Path, default=DEFAULT, help="of the runs (output/)")
    parser.add_argument("--model", default="fashion_mnist", help="name under which it is served (fashion_mnist)")
    parser.add_argument("--list", action="store_true", help="list the versions and change nothing")
    arguments = parser.parse_args(argv)
    root = OutputRoot(arguments.output_root)
    base = root.serving(arguments.model)
    try:
        if arguments.list:
            list_versions(base)
            return 0
        served, now, number = rollback(base, arguments.version)
    except InputError as error:
        print(f"rollback: {error}", file=sys.stderr)
        return error.exit_status
    print(f"version {now} is served again, as {number}; before it was {served}")
    if problem := record(root):
        print(f"rollback: {problem}", file=sys.stderr)
    return 0


def list_versions(base: Path) -> None:
    """Prints a line for each version in the folder."""
    shown = versions(base)
    if not shown:
        raise nothing_served(base)
    for number, files in shown.items():
        notes = [f"shows {files}"] * (files != number) + ["served"] * (number == served_version(base))
        print(number, *notes, sep="  ")


def record(root: OutputRoot) -> str:
    """Has ML Metadata know of the rollback; returns why it does not, "" if it does."""
    if not root.metadata.is_file():
        return f"{root.metadata}: expected a database of ML Metadata to record it in, found none."
    # A third of a second, when the rollback is done.
    from ml_metadata import errors, metadata_store
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.run.rollbacks import record_rollbacks

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(root.metadata.resolve())
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE
    try:
        # A run that goes on has the lock, and is ML Metadata's one writer.
        with root.lock("The rollback holds."):
            record_rollbacks(metadata_store.MetadataStore(connection), root)
    except (errors.StatusError, RuntimeError, InputError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return f"the rollback is not yet in ML Metadata ({reason}). The next run records it."
    return ""


if __name__ == "__main__":
    sys.exit(main())
