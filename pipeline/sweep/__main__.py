"""Tells which setting of the training matters: python -m pipeline.sweep FIELD=V1,V2,... [--seeds N].

Each value of each FIELD is tried on top of a preset, over several seeds, on train and val alone; with --pair also each
combination of two fields. The data come from the pipeline's cache, every training is remembered: run it again after a
kill, or with more fields or seeds, and it goes on where it was. A FIELD may be one of the data as well (image_encoding,
compression, shards, memory_mib); with --measure, what the input pipeline takes is told.

    python -m pipeline.sweep training.shift=1,2 training.optimizer=adam,sgd --pair training.shift,training.optimizer
    python -m pipeline.sweep 'training.network.widths=[16,32,64],[48,96,192]' --seeds 5
    python -m pipeline.sweep --measure training.input.cached=false --set training.epochs=2 --set training.prune=0
"""

import argparse
import datetime
import os
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from components.errors import InputError, PipelineError, disk_told
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot, writing
from pipeline.presets import PRESETS
from pipeline.project import a_path, folder, program
from pipeline.run.console import legible, say
from pipeline.scratch import scratch
from pipeline.settings import Settings, as_toml, resolve
from pipeline.stopping import how_stopped, stoppable
from pipeline.sweep.factors import Point, plan, read_factor, read_point

_SEEDS = 3
# After hours of training.
_AGAIN = "Free some space or mend its permissions, and run it again: each training is remembered."


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.sweep"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("factors", nargs="+", metavar="FIELD=V1,V2,...", help="a setting below training. and values")
    parser.add_argument("--pair", action="append", default=[], metavar="FIELD,FIELD", help="try them together as well")
    parser.add_argument(
        "--point", action="append", default=[], metavar="'FIELD=V FIELD=V ...'", help="one more, of several changes"
    )
    parser.add_argument("--seeds", type=int, default=_SEEDS, metavar="N", help=f"trainings a point ({_SEEDS})")
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"that is swept around ({PipelineConfig.preset})")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting; may be repeated")
    parser.add_argument("--data-dir", type=a_path, help="folder or file with the data; default: the usual places")
    parser.add_argument("--output-root", type=a_path, help=f"where everything goes ({PipelineConfig.output_root}/)")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="trainings at the same time (1)")
    parser.add_argument("--measure", action="store_true", help="the input pipeline too, a process for each training")
    parser.add_argument("--page", type=a_path, metavar="FILE", help="the page about it (OUTPUT/sweeps/<time>.md)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for bad input, another if the pipeline could not prepare the data."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse_arguments(argv)
    legible()
    try:
        with stoppable(), disk_told():
            return sweep(arguments, argv, folder())
    except PipelineError as error:
        status, told = error.exit_status, str(error)
    except KeyboardInterrupt as error:
        state, status = how_stopped(error)
        told = f"{state}. Run it again: it goes on where it was."
    say(f"{program('sweep')}: {told}", sys.stderr)
    return status


def sweep(arguments: argparse.Namespace, argv: list[str], project: Path) -> int:
    """Runs the sweep and tells what came of it; `argv` is what `arguments` were parsed from.

    Raises:
      PipelineError: it cannot be run.
    """
    if arguments.seeds < 1 or arguments.side_by_side < 1:
        raise InputError("--seeds, --side-by-side: expected 1 or more.")
    if arguments.measure and arguments.side_by_side > 1:
        raise InputError("--measure: expected --side-by-side 1: what runs beside it would be measured too.")
    if arguments.page is not None:
        _check_page(arguments.page)
    settings = _settings(arguments, ())
    from pipeline.run.run import check

    check(settings)
    config = settings.config
    if config.training.warm_start:
        told = "training.warm_start: expected false, found true: each training of a sweep begins anew. Leave it out."
        raise settings.refusal(InputError(told))
    factors = [read_factor(text, config) for text in arguments.factors]
    pairs = [tuple(pair.split(",", 1)) for pair in arguments.pair]
    points = plan(config, factors, pairs, [read_point(text, config) for text in arguments.point])
    print(f"{len(points)} points, {arguments.seeds} seeds each: {len(points) * arguments.seeds} trainings")
    rows = _train(arguments, points, project)

    from pipeline.sweep import page, words

    target = arguments.page or OutputRoot(config.output_root).sweeps / f"{datetime.datetime.now():%Y%m%d-%H%M%S}.md"
    print("\n" + "\n".join(words.words(rows)))
    with writing(target, _AGAIN):
        page.write_page(target, rows, preset=config.preset, command=_told(argv))
    print(f"\npage           {target}")
    print(f"trainings      {target.with_suffix('.csv')}")
    return 0


def _check_page(page: Path) -> None:
    """Raises InputError where no page can be written, before hours of training."""
    if page.suffix in (".csv", ".png"):
        raise InputError(f"--page {page}: expected another name, such as {page.with_suffix('.md')}: that is beside it.")
    above = next(folder for folder in page.absolute().parents if folder.exists())
    if page.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"--page {page}: expected a file that can be written. Choose another place.")


def _told(argv: list[str]) -> str:
    """Returns the command without what says nothing of the result: where things lie."""
    kept, skipped = [], False
    for word in argv:
        if skipped or word in ("--output-root", "--page", "--data-dir"):
            skipped = not skipped
        else:
            kept.append(word)
    return f"python -m pipeline.sweep {shlex.join(kept)}"


def _check_names(points: Iterable[Point], base: PipelineConfig) -> None:
    """Raises InputError where a point names a network or an augmentation that is not registered."""
    from models.recipe import check_names

    for point in points:
        try:
            check_names(point.config(base).training)
        except ValueError as error:
            raise InputError(f"{point}: training.{error}") from None


def _settings(arguments: argparse.Namespace, changes: Iterable[tuple[str, object]]) -> Settings:
    """Returns the settings that were given, with some values of a point on top."""
    flags = {
        name: (f"--{name.replace('_', '-')} {value}", value)
        for name in ("data_dir", "output_root")
        if (value := getattr(arguments, name)) is not None
    }
    assignments = [*arguments.set, *(f"{name}={as_toml(value)}" for name, value in changes)]
    return resolve(preset=arguments.preset, flags=flags, assignments=assignments, file=None, environ=os.environ)


def _train(arguments: argparse.Namespace, points: list[Point], project: Path) -> list:
    """Returns the rows of the sweep; on the same data seed by seed, so that a part of it says something of all."""
    from pipeline.run.console import Console
    from pipeline.sweep.results import Row
    from pipeline.sweep.trainings import prepare, trainings

    rows, started, total = [], time.monotonic(), len(points) * arguments.seeds
    given = _settings(arguments, ())
    with scratch() as folder, Console(folder / "log.txt"):
        _check_names(points, given.config)
    root = OutputRoot(given.config.output_root)
    log = root.sweeps / "log.txt"
    with writing(root.path, "Choose another --output-root."):
        root.sweeps.mkdir(parents=True, exist_ok=True)
        log.touch()
    for changes in dict.fromkeys(point.of_the_data for point in points):
        settings = _settings(arguments, changes)
        data = prepare(settings, project)
        own = settings.config.training.seed
        first = settings.config.seed if own is None else own
        seeds = range(first, first + arguments.seeds)
        asked = [(point, seed) for seed in seeds for point in points if point.of_the_data == changes]
        configs = [(point.config(settings.config), seed) for point, seed in asked]
        # What TensorFlow says in the processes that train goes into the log.
        with root.lock("Wait for it, or choose another --output-root."), Console(log) as console:
            outcomes = trainings(data, settings.config, configs, arguments.side_by_side, measured=arguments.measure)
            for (point, seed), outcome in zip(asked, outcomes, strict=True):
                rows.append(Row.of(point, seed, outcome, data.disk_mib if arguments.measure else None))
                left = (time.monotonic() - started) / len(rows) * (total - len(rows))
                result = f"failed: {outcome.failed}" if outcome.failed else f"{100 * outcome.val_accuracy:.2f} %"
                told = f"{len(rows)} of {total}: {result}, seed {seed}, {point}"
                console.line(f"{told}; {left / 60:.0f} min left")
    return rows


if __name__ == "__main__":
    sys.exit(main())
