"""Compiles the DAG of `create_pipeline` into a pipeline of Kubeflow Pipelines v2, by TFX's own runner.

Each node becomes a container that runs `pipeline.kubeflow.task`. TFX's compiler knows two resolver strategies, TFX's
own, so the baseline is what they choose. Needs what deploy/kubeflow.lock has, beside the project's environment.

Synopsis:

    pipeline_name_there("Fashion_mnist.smoke-28x28x1-10")      # "fashion-mnist-smoke-28x28x1-10"
"""

import importlib.util
import re
from pathlib import Path

from components.errors import InputError
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot, writing
from pipeline.run.data import check_classes, find_dataset
from pipeline.settings import Settings

_TASK = "pipeline.kubeflow.task"
_INSTALL = "uv pip install --target kubeflow-packages --no-deps --require-hashes -r deploy/kubeflow.lock"


def compile_pipeline(settings: Settings, project: Path, output: Path) -> str:
    """Writes the pipeline, and returns what to tell of it.

    Args:
      settings: what is in force.
      project: its folder; `data/` is looked for there.
      output: the file, JSON or YAML by its name.

    Raises:
      InputError: settings or data cannot be used, kfp is not there, or the file cannot be written.
    """
    config = settings.config
    if output.suffix not in (".json", ".yaml", ".yml"):
        raise InputError(f"{output}: expected a file that ends in .json, .yaml or .yml.")
    _check(config, settings)
    if importlib.util.find_spec("kfp") is None:
        raise InputError(
            f"kfp: expected it beside the project's packages, found none. '{_INSTALL}', then with "
            "PYTHONPATH=kubeflow-packages."
        )
    dataset = find_dataset(config, project, OutputRoot(config.output_root))
    if dataset.unreadable:
        raise InputError(dataset.unreadable)
    check_classes(config, dataset)
    # Seconds, which a wrong setting must not wait for.
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow

    from pipeline.kubeflow.types import renamed
    from pipeline.pipeline import create_pipeline

    pipeline = create_pipeline(config, dataset, known_resolvers=True)
    pipeline.pipeline_info.pipeline_name = pipeline_name_there(pipeline.pipeline_info.pipeline_name)
    pipeline.pipeline_info.pipeline_root = config.kubeflow.root
    runner = kubeflow.KubeflowV2DagRunner(
        kubeflow.KubeflowV2DagRunnerConfig(default_image=config.kubeflow.image, default_commands=command(config)),
        output_dir=str(output.parent),
        output_filename=output.name,
    )
    with writing(output, "Name another file."):
        output.parent.mkdir(parents=True, exist_ok=True)
        with renamed():
            runner.run(pipeline)
    name = pipeline.pipeline_info.pipeline_name
    return f"{output}: pipeline {name}, {len(pipeline.components)} nodes, image {config.kubeflow.image}"


def command(config: PipelineConfig) -> list[str]:
    """Returns what each container runs; TFX adds the node's executor and its inputs."""
    there = config.kubeflow
    words = ["python", "-m", _TASK, "--shared", there.shared, "--data", there.data]
    words += ["--mount", there.mount] if there.mount else []
    for name in ("image_size", "image_channels", "image_fit", "broken_images", "memory_mib"):
        value = getattr(config, name)
        if value != getattr(PipelineConfig, name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += ["--set", f"{name}={text}"]
    return words


def pipeline_name_there(name: str) -> str:
    """Returns a name of lower-case letters, digits and hyphens, at most 128."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:128]


def _check(config: PipelineConfig, settings: Settings) -> None:
    for name, example in (("image", "registry.example/image-pipeline:1"), ("root", "gs://bucket/pipeline")):
        if not getattr(config.kubeflow, name):
            raise InputError(
                f"kubeflow.{name}: expected one, such as {example}, found none. Give --set kubeflow.{name}=..."
            )
    if config.in_spans:
        raise settings.refusal(
            InputError(
                "data_dir: expected one data set, found a pattern of spans: which of them are new, no resolver of "
                "Kubeflow's can tell. Have a scheduler call local_runner.py."
            )
        )
    if config.training.warm_start:
        raise settings.refusal(
            InputError(
                "training.warm_start: expected false, found true: Kubeflow has no resolver for what is served. Leave "
                "it out, or have a scheduler call local_runner.py."
            )
        )
