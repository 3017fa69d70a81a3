"""Serves an earlier version again: python -m pipeline.rollback [VERSION] [--output-root OUTPUT]."""

import argparse
import sys
from pathlib import Path

from components.errors import InputError
from components.serving_folder import rollback, versions


def main(argv: list[str]) -> int:
    """Returns the exit status: 0, or 2 where there is no such version."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.rollback", description=__doc__, allow_abbrev=False)
    parser.add_argument("version", nargs="?", type=int, help="the one to serve; default: the one before")
    parser.add_argument("--output-root", type=Path, default=Path("output"), help="of the runs (output/)")
    parser.add_argument("--model", default="fashion_mnist", help="name of its data set (fashion_mnist)")
    parser.add_argument("--list", action="store_true", help="list the versions and change nothing")
    arguments = parser.parse_args(argv)
    base = arguments.output_root / "serving" / arguments.model
    if arguments.list:
        shown = versions(base)
        for number, files in shown.items():
            notes = [f"shows {files}"] * (files != number) + ["served"] * (number == max(shown))
            print(number, *notes, sep="  ")
        return 0
    try:
        served, now, number = rollback(base, arguments.version)
    except InputError as error:
        print(f"rollback: {error}", file=sys.stderr)
        return error.exit_status
    print(f"version {now} is served again, as {number}; before it was {served}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
