"""Compiles the pipeline for Kubeflow Pipelines: python kubeflow_runner.py --set kubeflow.image=IMAGE OUTPUT."""

import argparse
import os
import sys

from components.errors import InputError, disk_told
from pipeline.presets import PRESETS
from pipeline.project import a_path, folder, program


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 for what cannot be compiled."""
    parser = argparse.ArgumentParser(prog=program("kubeflow_runner.py"), description=__doc__, allow_abbrev=False)
    parser.add_argument("output", type=a_path, metavar="OUTPUT", help="of the pipeline: FILE.json or FILE.yaml")
    parser.add_argument("--preset", choices=tuple(PRESETS), help="how long to train")
    parser.add_argument("--data-dir", type=a_path, help="folder with the data, as they are here")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting; may be repeated")
    parser.add_argument("--config", type=a_path, metavar="FILE", help="TOML file with settings")
    arguments = parser.parse_args(argv)
    from pipeline.settings import resolve

    data = arguments.data_dir
    try:
        settings = resolve(
            preset=arguments.preset,
            flags={} if data is None else {"data_dir": (f"--data-dir {data}", data)},
            assignments=arguments.set,
            file=arguments.config,
            environ=os.environ,
        )
        from pipeline.kubeflow.compiling import compile_pipeline

        with disk_told():
            told = compile_pipeline(settings, folder(), arguments.output)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_status
    print(told)
    return 0


def __getattr__(name: str) -> type:
    # Kubeflow knows an artifact type of a project's own by a module without a package, and its name.
    if name.startswith("_"):
        raise AttributeError(name)
    from pipeline.kubeflow.types import TYPES

    try:
        return TYPES[name]
    except KeyError:
        raise AttributeError(name) from None


if __name__ == "__main__":
    sys.exit(main())
