"""Runs the benchmarks and writes docs/BENCHMARKS.md.

python -m benchmarks                          # all of them, about two hours
python -m benchmarks data_plane memory        # some of them
"""

import argparse
import importlib

from benchmarks.process import ROOT
from benchmarks.report import write_section
from models.precision import trains_slowly

NAMES = (
    "data_plane",
    "memory",
    "input_pipeline",
    "determinism",
    "whole_run",
    "best",
    "serving",
    "metadata",
    "index_page",
)
# What a preset does that is another network on a processor without bfloat16: a section of its own there.
_OF_A_PRESET = ("input_pipeline", "determinism", "whole_run", "serving", "best")


def main() -> None:
    """Runs the named benchmarks, each printing as it goes."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measures, and writes docs/BENCHMARKS.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all of them if none is given")
    parser.add_argument("--repeats", type=int, help="runs of each side")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"expected {', '.join(NAMES)}, found {', '.join(sorted(unknown))}")
    for name in arguments.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"== {module.TITLE}", flush=True)
        body = module.benchmark(arguments.repeats or module.REPEATS)
        section, title = name, module.TITLE
        if name in _OF_A_PRESET and trains_slowly():
            section, title = f"{name}_without_bfloat16", f"{title}, without bfloat16"
        write_section(ROOT / "docs" / "BENCHMARKS.md", section, title, body, f"make bench ARGS={name}")
        print(body, flush=True)


if __name__ == "__main__":
    main()
