"""Writes the report of a run, or the page of all: python -m pipeline.report [RUN | --index] [--output-root OUTPUT]."""

import argparse
import os
import sys

from components.errors import InputError, disk_told
from pipeline.output_root import DEFAULT, OutputRoot
from pipeline.project import a_path, program
from pipeline.run.console import legible
from pipeline.scratch import scratch
from pipeline.surroundings import taken_over


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 if there is no such run, none at all, or nothing can be written."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.report"),
        description="Writes runs/<id>/report.html, or index.html about all runs: one file that works offline.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help="'latest', the default, or the beginning of an id")
    parser.add_argument("--index", action="store_true", help="write index.html, all runs at a glance, instead")
    parser.add_argument("--output-root", type=a_path, default=DEFAULT, help="of the runs (output/)")
    arguments = parser.parse_args(argv)
    if arguments.index and arguments.run:
        parser.error("--index is about all runs: expected no RUN beside it")
    legible()
    root = OutputRoot(arguments.output_root)
    try:
        if arguments.index:
            from pipeline.report.index_page import write_index

            with disk_told():
                print(write_index(root))
            return 0
        # Matplotlib asks the environment, and where it is not at home leaves a folder for its settings.
        with disk_told(), scratch() as folder, taken_over(os.environ, folder):
            from pipeline.report.render import write_report

            print(write_report(root, arguments.run or "latest"))
    except InputError as error:
        print(f"pipeline.report: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
