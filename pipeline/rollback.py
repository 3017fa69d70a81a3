"""Serves an earlier version again: python -m pipeline.rollback [VERSION] [--output-root OUTPUT].

What it takes back comes again by 'python -m pipeline.publish RUN', or by its VERSION here.
"""

import sys
from pathlib import Path

from components.errors import InputError, disk_told
from components.pusher.history import acts, taken_back
from components.pusher.serving_folder import nothing_served, rollback
from pipeline.metadata.served import Standings
from pipeline.metadata.store import Run, Store
from pipeline.metadata.text import table, when
from pipeline.output_root import OutputRoot
from pipeline.run.aftermath import refresh
from pipeline.run.console import legible
from pipeline.served import parser_of, serving_folder


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 where there is no such version."""
    parser = parser_of("rollback", __doc__)
    parser.add_argument("version", nargs="?", type=int, help="the one to serve; default: the model before")
    parser.add_argument("--list", action="store_true", help="list the versions and change nothing")
    arguments = parser.parse_args(argv)
    legible()
    root = OutputRoot(arguments.output_root)
    base = serving_folder(root, arguments.model)
    try:
        with disk_told():
            if arguments.list:
                print(list_versions(root, base))
                return 0
            served, now, number = rollback(base, arguments.version)
    except InputError as error:
        print(f"rollback: {error}", file=sys.stderr)
        return error.exit_status
    print(f"version {now} is served again, as {number}; before it was {served}")
    problem = record(root)
    for told in [*([problem] if problem else []), *refresh(root)]:
        print(f"rollback: {told}", file=sys.stderr)
    return 0


def list_versions(root: OutputRoot, base: Path) -> str:
    """Returns a table with a line for each version in the folder.

    Raises:
      InputError: there is none.
    """
    shown = acts(base)
    if not shown:
        raise nothing_served(base)
    makers, gone = _makers(root, base), taken_back(shown)
    rows = []
    for act in shown:
        run = makers.get(act.content)
        accuracy = run.properties.get("test_accuracy") if run else None
        served, back = act is shown[-1], act.content in gone and act.files == act.number
        rows.append(
            [
                str(act.number),
                when(1000 * act.number),
                f"shows {act.files}" if act.files != act.number else "",
                run.id if run else None,
                None if accuracy is None else f"{accuracy:.4f}",
                "served" if served else "taken back" if back else "",
            ]
        )
    return table(["version", "since", "", "run", "accuracy", ""], rows)


def _makers(root: OutputRoot, base: Path) -> dict[str, Run]:
    """Returns, by the content of a model, the first run whose blessing it had."""
    if not root.metadata.is_file():
        return {}
    standings, found = Standings(root), {}
    for run in Store(root.metadata).runs():
        if run.properties.get("blessed") and run.properties.get("published_as") == base.name:
            found.setdefault(standings.content(run), run)
    return found


def record(root: OutputRoot) -> str:
    """Has ML Metadata know of the rollback; returns why it does not, "" if it does."""
    if not root.metadata.is_file():
        return f"{root.metadata}: expected a database of ML Metadata to record it in, found none."
    # A third of a second, when the rollback is done.
    from pipeline.run.publications import record_in

    try:
        # A run that goes on has the lock, and is ML Metadata's one writer.
        with root.lock("The rollback holds."):
            problem = record_in(root)
    except InputError as error:
        problem = str(error).rstrip(".")
    return f"the rollback is not yet in ML Metadata ({problem}). The next run records it." if problem else ""


if __name__ == "__main__":
    sys.exit(main())
