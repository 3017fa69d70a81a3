"""Answers from ML Metadata on the command line: python -m pipeline.metadata COMMAND.

Read-only but for `gc --delete`, `tag` and `note`, and safe while a run goes on.
"""

import argparse
import json
import os
import sys

from components.errors import InputError, disk_told
from pipeline.metadata import differences, drawing, garbage, labels, lineage, names, runs, show, why
from pipeline.metadata.store import Store
from pipeline.output_root import DEFAULT, OutputRoot
from pipeline.project import a_path, program
from pipeline.run.console import legible
from pipeline.run.outcome import STATES


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, or 2 for what cannot be answered."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    legible()
    try:
        with disk_told():
            print(arguments.answer(arguments, _opened(arguments)), flush=True)
    except InputError as error:
        print(f"pipeline.metadata: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader has seen enough; Python would complain again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _opened(arguments: argparse.Namespace) -> Store:
    return Store(OutputRoot(arguments.output_root).metadata, everybody=getattr(arguments, "all_roots", False))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parses the command line."""
    everywhere = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    everywhere.add_argument("--output-root", type=a_path, default=DEFAULT, help="of the runs (output/)")
    everywhere.add_argument("--json", action="store_true", help="print JSON")
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.metadata"),
        description="Answers from ML Metadata: what happened in a run, where a model comes from, why a node ran.",
        epilog="RUN is 'latest', a run's id, its beginning, or a tag. ARTIFACT is a8, a path, or a served version.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, answer, told: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[everywhere], help=told, description=told, allow_abbrev=False)
        command.set_defaults(answer=answer)
        return command

    command = add("runs", _runs, "list the runs, the latest first")
    command.add_argument("--since", metavar="WHEN", help="that began since then: 2026-11-20, or 7d, 12h, 30m ago")
    command.add_argument(
        "--state",
        action="append",
        choices=STATES,
        type=lambda state: state.replace("-", " "),
        metavar="STATE",
        help=f"in this state ({', '.join(STATES)}); may be repeated: one of these",
    )
    command.add_argument(
        "--tag", action="append", default=[], metavar="NAME", help="that have it; may be repeated: all"
    )
    command.add_argument("--data", metavar="NAME", help="on the data set of this name")
    command.add_argument(
        "--sort",
        choices=runs.KEYS,
        default="started",
        metavar="KEY",
        help=f"by one of {', '.join(runs.KEYS)} (started)",
    )
    command.add_argument("--limit", type=int, metavar="N", help="the first N of them")
    command.add_argument("--csv", metavar="FILE", help="write CSV, what --json has as columns; - prints it")
    command.add_argument(
        "--all-roots", action="store_true", help="those of all output roots in a shared database, each with its root"
    )
    command = add("tag", _tag, "tag a run, to find it again")
    command.add_argument("run", metavar="RUN")
    command.add_argument("tags", metavar="NAME", nargs="+")
    command.add_argument("--remove", action="store_true", help="take the tags away")
    command = add("note", _note, "say something of a run, in a line")
    command.add_argument("run", metavar="RUN")
    command.add_argument("text", metavar="TEXT", help="in the place of what was said before; '' takes it away")
    command = add("show", _show, "all about a run, an artifact (a8) or an execution (e8)")
    command.add_argument("subject", metavar="RUN|ARTIFACT|EXECUTION")
    command = add("lineage", _lineage, "what an artifact was made of, or what was made of it")
    command.add_argument(
        "artifact", metavar="ARTIFACT|MODEL", help="a8, a path, a served version, or a run for its model"
    )
    way = command.add_mutually_exclusive_group()
    way.add_argument("--up", dest="down", action="store_false", help="to data, code and settings (default)")
    way.add_argument("--down", dest="down", action="store_true", help="to everything that was made of it")
    command.set_defaults(down=False)
    command.add_argument("--format", choices=("tree", "dot", "mermaid", "json"), default="tree", help="of the graph")
    command = add("diff", _diff, "two runs side by side, what differs of them")
    command.add_argument("first", metavar="RUN")
    command.add_argument("second", metavar="RUN")
    command.add_argument("--all", action="store_true", help="what is equal as well")
    command = add("why", _why, "why a node ran or was cached")
    command.add_argument("node", metavar="NODE")
    command.add_argument("run", metavar="RUN", nargs="?", default="latest", help="default: the latest")
    command = add("gc", _gc, "list what could go: orphans, outputs of failures, and what is superseded")
    command.add_argument(
        "--keep", type=int, metavar="N", help="keep all of the latest N runs of each name (as kept_runs of the latest)"
    )
    command.add_argument("--delete", action="store_true", help="delete it; without, nothing changes")
    return parser.parse_args(argv)


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _runs(arguments: argparse.Namespace, store: Store) -> str:
    since = None if arguments.since is None else runs.moment(arguments.since)
    found = runs.select(
        runs.list_runs(store, since=since),
        states=arguments.state,
        tags=arguments.tag,
        data=arguments.data,
        sort=arguments.sort,
        limit=arguments.limit,
    )
    if arguments.csv is None:
        return _json(found) if arguments.json else runs.render(found, asked=since is not None or _asks(arguments))
    if arguments.json:
        raise InputError("--csv: expected no --json beside it. Give one of them.")
    return runs.write_csv(found, arguments.csv)


def _asks(arguments: argparse.Namespace) -> bool:
    return bool(arguments.state or arguments.tag or arguments.data)


def _tag(arguments: argparse.Namespace, store: Store) -> str:
    change = {"remove" if arguments.remove else "add": arguments.tags}
    return _labelled(arguments, store, **change)


def _note(arguments: argparse.Namespace, store: Store) -> str:
    return _labelled(arguments, store, note=arguments.text)


def _labelled(arguments: argparse.Namespace, store: Store, **change) -> str:
    run = store.find_run(arguments.run)
    found = labels.label(store, run, OutputRoot(arguments.output_root), **change)
    if arguments.json:
        return _json({"run": run.id, **found})
    return f"run {run.id}: tags {', '.join(found['tags']) or 'none'}; note {found['note'] or 'none'}"


def _show(arguments: argparse.Namespace, store: Store) -> str:
    found = show.show(store, names.find(store, arguments.subject))
    return _json(found) if arguments.json else show.render(found)


def _lineage(arguments: argparse.Namespace, store: Store) -> str:
    graph = lineage.trace(store, names.find_artifact(store, arguments.artifact), down=arguments.down)
    form = "json" if arguments.json else arguments.format
    return _json(drawing.as_json(store, graph)) if form == "json" else drawing.RENDERERS[form](store, graph)


def _diff(arguments: argparse.Namespace, store: Store) -> str:
    first, second = (store.find_run(text) for text in (arguments.first, arguments.second))
    rows = differences.compare(first, second, everything=arguments.all)
    if arguments.json:
        return _json({"first": first.id, "second": second.id, "differences": rows})
    return differences.render(rows, first, second)


def _why(arguments: argparse.Namespace, store: Store) -> str:
    found = why.explain(store, arguments.node, store.find_run(arguments.run))
    return _json(found) if arguments.json else why.render(found)


def _gc(arguments: argparse.Namespace, store: Store) -> str:
    if arguments.keep is not None and arguments.keep < 0:
        raise InputError(f"--keep: expected 0 or more runs, found {arguments.keep}.")
    plan = garbage.find(store, OutputRoot(arguments.output_root), keep=arguments.keep)
    if arguments.delete:
        # What the lock guards may have changed while it was waited for.
        plan = garbage.delete(OutputRoot(arguments.output_root), keep=arguments.keep)
    return _json(plan) if arguments.json else garbage.render(plan, deleted=arguments.delete)
