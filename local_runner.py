"""Runs the Fashion-MNIST pipeline on this machine: python local_runner.py [--preset smoke|fast|best]."""

import argparse
import os
import sys

from models.features import ENCODINGS, SEVERITIES
from pipeline.config import RUNNERS, PipelineConfig
from pipeline.engine.options import read_beam_args
from pipeline.presets import PRESETS
from pipeline.project import a_path, folder, program

_EPILOG = """\
exit status: 0 blessed and pushed (or held back by --no-push); 2 bad input or usage; 3 the data gate refused the data;
4 the model was not blessed; 75 another run or program uses the output root; 130 interrupted (Ctrl-C);
143 terminated (SIGTERM; 129 by SIGHUP); 1 anything else.

settings: --set and the flags of single settings go before --config, that before environment variables
(IMAGE_PIPELINE_TRAINING__EPOCHS=3), those before the preset, that before the defaults."""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line; imports nothing that takes time. A flag of a setting that was not given is None."""
    parser = argparse.ArgumentParser(
        prog=program("local_runner.py"),
        description="From the IDX files of Fashion-MNIST to a blessed, pushed model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    default = PipelineConfig
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"how long to train ({default.preset})")
    parser.add_argument("--output-root", type=a_path, help=f"where everything goes ({default.output_root}/)")
    parser.add_argument(
        "--data-dir",
        type=a_path,
        help="folder or file with the data, or a pattern of spans; default: the usual places",
    )
    parser.add_argument("--name", help="of the data set, which a model is served under; default: from the data")
    parser.add_argument("--seed", type=int, help=f"of splits, weights, order and augmentation ({default.seed})")
    parser.add_argument(
        "--image-encoding", choices=ENCODINGS, help=f"of the images in the records ({default.image_encoding})"
    )
    parser.add_argument(
        "--gate-severity", choices=SEVERITIES, help=f"from which the data gate refuses ({default.gate_severity})"
    )
    parser.add_argument("--beam-runner", choices=RUNNERS, help=f"engine of Beam's work ({default.beam_runner})")
    parser.add_argument("--beam-args", type=a_path, metavar="FILE", help="with further options of Beam's, one a line")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting; may be repeated")
    parser.add_argument("--config", type=a_path, metavar="FILE", help="TOML file with settings")
    parser.add_argument("--show-config", action="store_true", help="tell each setting, and where it comes from")
    search = parser.add_argument_group("search for better hyperparameters, of the settings that are not given")
    search.add_argument("--tune", action="store_true", help="search before the training, on train and val only")
    tune = default().tune
    search.add_argument("--tune-trials", type=int, metavar="N", help=f"most trainings to try ({tune.trials})")
    search.add_argument("--tune-minutes", type=float, metavar="M", help="after which none is begun (no limit)")
    spans = parser.add_argument_group("data that arrive in spans: --data-dir 'incoming/span-{SPAN}'")
    spans.add_argument("--span", metavar="NAME", help="the last one, which has to be there (the latest that is)")
    spans.add_argument("--window", type=int, metavar="N", help="how many spans are trained on (all)")
    spans.add_argument("--admit", action="append", metavar="NAME", help="let this span in whatever the gate finds")
    part = parser.add_argument_group("part of the pipeline, on the outputs of earlier runs")
    part.add_argument("--from", dest="from_node", metavar="NODE", help="run this node and what depends on it")
    part.add_argument("--to", dest="to_node", metavar="NODE", help="run this node and what it depends on")
    part.add_argument("--only", dest="only_node", metavar="NODE", help="run this node alone")
    parser.add_argument("--no-cache", action="store_true", help="run every node, even if nothing has changed")
    parser.add_argument("--no-push", action="store_true", help="publish nothing; python -m pipeline.publish does")
    parser.add_argument("--note", metavar="TEXT", help="a line about the run, kept with it")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="NAME", help="by which to find the run again; may be repeated"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would run, what is cached, and why")
    parser.add_argument("--on-end", metavar="COMMAND", help="run when the run has ended: docs/unattended.md")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="of the run's log (text)")
    arguments = parser.parse_args(argv)
    if arguments.only_node and (arguments.from_node or arguments.to_node):
        parser.error("--only names the one node to run: expected neither --from nor --to beside it")
    return arguments


def flags_of_settings(arguments: argparse.Namespace) -> dict[str, tuple[str, object]]:
    """Returns the flags of single settings that were given: the setting's name, the flag as typed, the value."""
    names = ("output_root", "data_dir", "span", "window", "name", "seed", "image_encoding", "gate_severity", "on_end")
    names += ("beam_runner",)
    values = {name: getattr(arguments, name) for name in names}
    flags = {
        name: (f"--{name.replace('_', '-')} {value}", value) for name, value in values.items() if value is not None
    }
    if arguments.admit:
        flags["admit"] = (" ".join(f"--admit {name}" for name in arguments.admit), tuple(arguments.admit))
    if arguments.beam_args:
        flags["beam_args"] = (f"--beam-args {arguments.beam_args}", read_beam_args(arguments.beam_args))
    for name in ("trials", "minutes"):
        value = getattr(arguments, f"tune_{name}")
        flags |= {} if value is None else {f"tune.{name}": (f"--tune-{name} {value:g}", value)}
    switches = {
        "tune.enabled": ("--tune", arguments.tune, True),
        "enable_cache": ("--no-cache", arguments.no_cache, False),
        "push": ("--no-push", arguments.no_push, False),
    }
    return flags | {name: (flag, value) for name, (flag, given, value) in switches.items() if given}


def _as_event(settings) -> str:
    from pipeline.run.console import event_line

    return event_line("settings", settings=settings.as_dict(), origins=settings.origins)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status that the epilog of --help lists."""
    arguments = parse_arguments(argv)
    from components.errors import PipelineError, disk_told
    from pipeline.run.aftermath import how_ended
    from pipeline.run.console import event_line, legible, say
    from pipeline.stopping import stoppable

    legible()
    try:
        with stoppable(), disk_told():
            return _run(arguments)
    except (PipelineError, KeyboardInterrupt) as error:
        state, status = how_ended(error)
        stopped = isinstance(error, KeyboardInterrupt)
        told = f"{state}. Run it again: what was finished comes from the cache." if stopped else str(error)
    say(f"{program('local_runner.py')}: {told}", sys.stderr)
    if arguments.log_format == "json":
        say(event_line("result", state=state, exit_status=status, text=told))
    return status


def _run(arguments: argparse.Namespace) -> int:
    from pipeline.metadata.labels import check_note, check_tag
    from pipeline.nodes import Selection
    from pipeline.settings import resolve

    labels = {"note": check_note(arguments.note or "") or None, "tags": sorted({*map(check_tag, arguments.tag)})}
    settings = resolve(
        preset=arguments.preset,
        flags=flags_of_settings(arguments),
        assignments=arguments.set,
        file=arguments.config,
        environ=os.environ,
    )
    only = arguments.only_node
    selection = Selection(from_node=only or arguments.from_node, to_node=only or arguments.to_node)
    if arguments.show_config:
        from pipeline.run.run import check

        check(settings)
        print(settings.render() if arguments.log_format == "text" else _as_event(settings))
        return 0
    from pipeline.run.run import run_pipeline, tell_plan

    root = folder()
    if settings.config.in_spans and not selection.from_node:
        from pipeline.run.night import run_night, tell_night

        if arguments.dry_run:
            return tell_night(settings, root, selection, log_format=arguments.log_format)
        return run_night(settings, root, selection, log_format=arguments.log_format, labels=labels)
    if arguments.dry_run:
        return tell_plan(settings, root, selection, log_format=arguments.log_format)
    return run_pipeline(settings, root, selection, log_format=arguments.log_format, labels=labels)


if __name__ == "__main__":
    sys.exit(main())
