"""Tells which setting of the training matters: python -m pipeline.sweep FIELD=V1,V2,... [--seeds N].

Each value of each FIELD is tried on top of a preset, over several seeds, on train and val alone; with --pair also each
combination of two fields. The data come from the pipeline's cache, every training is remembered: run it again after a
kill, or with more fields or seeds, and it goes on where it was.

    python -m pipeline.sweep training.shift=1,2 training.optimizer=adam,sgd --pair training.shift,training.optimizer
    python -m pipeline.sweep 'training.network.widths=[16,32,64],[48,96,192]' --seeds 5
"""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

from components.errors import InputError, PipelineError
from pipeline.config import PipelineConfig
from pipeline.presets import PRESETS
from pipeline.settings import Settings, resolve
from pipeline.sweep.factors import Point, plan, read_factor, read_point

_SEEDS = 3


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.sweep",
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
    parser.add_argument("--data-dir", type=Path, help="folder or file with the data; default: the usual places")
    parser.add_argument("--output-root", type=Path, help=f"where everything goes ({PipelineConfig.output_root}/)")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="trainings at the same time (1)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page about it, in Markdown, with pictures")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Returns the exit status: 0, 2 for bad input, another if the pipeline could not prepare the data."""
    arguments = parse_arguments(argv)
    try:
        return sweep(arguments, Path(__file__).resolve().parent.parent.parent)
    except PipelineError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return error.exit_status


def sweep(arguments: argparse.Namespace, project: Path) -> int:
    """Runs the sweep and tells what came of it.

    Raises:
      PipelineError: it cannot be run.
    """
    flags = {
        name: (f"--{name.replace('_', '-')} {value}", value)
        for name in ("data_dir", "output_root")
        if (value := getattr(arguments, name)) is not None
    }
    settings = resolve(preset=arguments.preset, flags=flags, assignments=arguments.set, file=None, environ=os.environ)
    config = settings.config
    if arguments.seeds < 1 or arguments.side_by_side < 1:
        raise InputError("--seeds, --side-by-side: expected 1 or more.")
    factors = [read_factor(text, config) for text in arguments.factors]
    pairs = [tuple(pair.split(",", 1)) for pair in arguments.pair]
    points = plan(config, factors, pairs, [read_point(text, config) for text in arguments.point])
    seeds = range(config.seed, config.seed + arguments.seeds)
    print(f"{len(points)} points, {len(seeds)} seeds each: {len(points) * len(seeds)} trainings")
    rows = _train(settings, points, seeds, arguments.side_by_side, project)

    from pipeline.sweep import page, results

    folder = config.output_root / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    results.write_csv(folder / "trainings.csv", rows)
    print(page.render_table(results.summarize(rows)))
    for name, share in results.importance(rows).items():
        print(f"{name:<32} {100 * share:5.1f} % of what the settings explain")
    print(f"trainings      {folder / 'trainings.csv'}")
    if arguments.page:
        page.write_page(arguments.page, rows, settings)
        print(f"page           {arguments.page}")
    return 0


def _train(settings: Settings, points: list[Point], seeds: range, side_by_side: int, project: Path) -> list:
    """Returns the rows of the sweep, seed by seed, so that a part of it says something of all points."""
    from models.memory import budget_bytes
    from models.precision import resolve_precision
    from models.trials import Trial, Trials
    from pipeline.output_root import OutputRoot
    from pipeline.run.code_digest import code_digest
    from pipeline.sweep.data import prepare
    from pipeline.sweep.results import Row

    data = prepare(settings, project)
    root = OutputRoot(settings.config.output_root)
    asked = [(point, seed) for seed in seeds for point in points]
    trials = []
    for point, seed in asked:
        recipe = point.config(settings.config).training
        recipe = dataclasses.replace(recipe, precision=resolve_precision(recipe.precision))
        trials.append(Trial(recipe, seed))
    rows, started = [], time.monotonic()
    with Trials(
        data.examples,
        mean=data.mean,
        variance=data.variance,
        folder=root.checkpoints / "trials",
        code=code_digest("models.trials"),
        memory=budget_bytes(settings.config.memory_mib),
        processes=side_by_side,
    ) as running:
        for (point, seed), outcome in zip(asked, running.run(trials), strict=True):
            rows.append(
                Row(
                    point=point,
                    seed=seed,
                    val_accuracy=outcome.val_accuracy,
                    seconds=outcome.seconds,
                    examples_per_second=outcome.examples_per_second,
                    parameters=outcome.parameters,
                    multiply_adds=outcome.multiply_adds,
                )
            )
            left = (time.monotonic() - started) / len(rows) * (len(asked) - len(rows))
            told = f"{len(rows)} of {len(asked)}: {100 * outcome.val_accuracy:.2f} %, seed {seed}, {point}"
            print(f"{told}; {left / 60:.0f} min left", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
