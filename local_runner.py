"""Runs the Fashion-MNIST pipeline on this machine: python local_runner.py [--preset smoke|fast|best]."""

import argparse
import sys
from pathlib import Path

_EPILOG = """\
exit status: 0 blessed and pushed; 2 bad input or usage; 3 the data gate refused the data;
4 the model was not blessed; 1 anything else."""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parses the command line; imports nothing that takes time."""
    parser = argparse.ArgumentParser(
        prog="local_runner.py",
        description="From the IDX files of Fashion-MNIST to a blessed, pushed model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--preset", choices=("smoke", "fast", "best"), default="fast", help="how long to train")
    parser.add_argument("--output-root", type=Path, default=Path("output"), help="where everything goes (output/)")
    parser.add_argument("--data-dir", type=Path, help="folder with the four IDX files; default: the usual places")
    parser.add_argument("--seed", type=int, default=42, help="of splits, weights, order and augmentation (42)")
    parser.add_argument(
        "--image-encoding", choices=("tensor", "jpeg", "png"), default="tensor", help="of the images in the records"
    )
    parser.add_argument(
        "--gate-severity", choices=("warning", "error"), default="error", help="from which the data gate refuses"
    )
    part = parser.add_argument_group("part of the pipeline, on the outputs of earlier runs")
    part.add_argument("--from", dest="from_node", metavar="NODE", help="run this node and what depends on it")
    part.add_argument("--to", dest="to_node", metavar="NODE", help="run this node and what it depends on")
    part.add_argument("--only", dest="only_node", metavar="NODE", help="run this node alone")
    parser.add_argument("--no-cache", action="store_true", help="run every node, even if nothing has changed")
    parser.add_argument("--dry-run", action="store_true", help="tell what would run, what is cached, and why")
    arguments = parser.parse_args(argv)
    if arguments.only_node and (arguments.from_node or arguments.to_node):
        parser.error("--only names the one node to run: expected neither --from nor --to beside it")
    return arguments


def main(argv: list[str]) -> int:
    """Returns the exit status that the epilog of --help lists."""
    arguments = parse_arguments(argv)
    from components.errors import PipelineError
    from pipeline.config import preset
    from pipeline.nodes import Selection
    from pipeline.run import run_pipeline, tell_plan

    try:
        config = preset(
            arguments.preset,
            seed=arguments.seed,
            data_dir=arguments.data_dir,
            output_root=arguments.output_root.resolve(),
            image_encoding=arguments.image_encoding,
            gate_severity=arguments.gate_severity,
            enable_cache=not arguments.no_cache,
        )
        only = arguments.only_node
        selection = Selection(from_node=only or arguments.from_node, to_node=only or arguments.to_node)
        start = tell_plan if arguments.dry_run else run_pipeline
        return start(config, Path(__file__).resolve().parent, selection)
    except PipelineError as error:
        print(f"local_runner.py: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("local_runner.py: interrupted. Run it again: what was finished comes from the cache.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
