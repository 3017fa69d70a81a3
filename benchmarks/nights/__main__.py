"""Thirty nights in minutes: python -m benchmarks.nights [--warm-start] [--page docs/every-night.md].

Fashion-MNIST comes in spans, one a night, with what goes wrong in practice: a night without data, spans that must be
refused, one that cannot be read, a kill, a drift, a new class, a rollback. Each night is a process, as a timer starts
it, and is judged by its exit status, by what its runs recorded, and by what is served in the morning. The exit status
is 1 where something else happened than should.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.nights.playing import Morning, Nights
from benchmarks.nights.scenario import Night, scenario, usual
from benchmarks.nights.tables import compare, describe, did
from benchmarks.report import write_section


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 where a night was otherwise than it should be."""
    parser = argparse.ArgumentParser(
        prog="make nights",
        description="Plays nights of spans, and says whether each was as it should be.",
        allow_abbrev=False,
    )
    parser.add_argument("--output-root", type=Path, help="for what arrives and what comes of it")
    parser.add_argument("--nights", type=int, default=30, metavar="N", help="how many (30)")
    parser.add_argument("--window", type=int, default=8, metavar="N", help="how many spans are trained on (8)")
    parser.add_argument("--warm-start", action="store_true", help="usual nights only, trained anew and by a warm start")
    parser.add_argument("--page", type=Path, help="file with a section for the table, such as docs/every-night.md")
    arguments = parser.parse_args(argv)
    flags = ("--window", str(arguments.window), "--set", "kept_runs=3")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.output_root or Path(scratch, "nights")
        if arguments.warm_start:
            nights = [usual(day) for day in range(1, arguments.nights + 1)]
            sides = {"anew": flags, "warm": (*flags, "--set", "training.warm_start=true")}
            played = {name: _play(nights, folder / name, own) for name, own in sides.items()}
            name, title, body = "warm-start", "Warm start", compare(*played.values())
            mornings = [morning for side in played.values() for morning in side]
        else:
            mornings = _play(scenario()[: arguments.nights], folder, flags)
            # Where the nights lay on this machine is no figure.
            name, title, body = "nights", "What happened", describe(mornings).replace(f"{folder}/", "")
    print(body)
    if arguments.page:
        more = [word for word in (argv or sys.argv[1:]) if word == "--warm-start"]
        command = "make nights" + (f' ARGS="{more[0]} --nights {arguments.nights}"' if more else "")
        write_section(arguments.page, name, title, body, command)
    return int(any(morning.odd for morning in mornings))


def _play(nights: list[Night], folder: Path, flags: tuple[str, ...]) -> list[Morning]:
    mornings = []
    for morning in Nights(folder, flags=flags).play(nights):
        mornings.append(morning)
        print(f"{morning.night.day:>2} {morning.night.what}: status {morning.status}, {did(morning)}", flush=True)
    return mornings


if __name__ == "__main__":
    sys.exit(main())
