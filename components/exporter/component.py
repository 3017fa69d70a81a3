"""Makes the model that is served of what the Trainer learned.

Apart from the Trainer, so that an edit of how a model is exported (signatures, warm-up, portable form) trains nothing.
"""

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import Artifacts, open_examples, single
from models.examples import Examples
from models.export import export_model
from models.features import VAL
from models.input_pipeline import first_records
from models.trained import load_trained
from models.warmup import batch_sizes

BYTES = "bytes"


def export(trained: Path, examples: Examples, folder: Path) -> int:
    """Exports a trained model.

    Args:
      trained: folder that `save_trained` wrote.
      examples: that it was trained on; the warm-up asks about the first of their validation split.
      folder: of the SavedModel.

    Returns:
      The size of all files in `folder`, in bytes.

    Raises:
      TrainedError: `trained` holds no trained model.
    """
    records = first_records(examples, VAL, max(batch_sizes(examples.image_shape)))
    export_model(load_trained(trained), folder, examples.image_shape, examples.class_names, records)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `export` and records the size."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        trained, model = single(input_dict, "trained"), single(output_dict, "model")
        folders = [Path(path_utils.serving_model_dir(artifact.uri)) for artifact in (trained, model)]
        size = export(folders[0], open_examples(single(input_dict, "examples")), folders[1])
        model.set_int_custom_property(BYTES, size)


class ExporterSpec(component_spec.ComponentSpec):
    """Interface of `Exporter`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "trained": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Exporter(base_component.BaseComponent):
    """Exports what the Trainer learned; see the module's docstring."""

    SPEC_CLASS = ExporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel, model: types.BaseChannel) -> None:
        """`model` is the Trainer's output: what it learned, which nobody can serve yet."""
        super().__init__(
            ExporterSpec(examples=examples, trained=model, model=types.Channel(type=standard_artifacts.Model))
        )
