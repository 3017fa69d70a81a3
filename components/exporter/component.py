"""Makes the model that is served of what the Trainer learned.

Apart from the Trainer, so that an edit of how a model is exported (signatures, warm-up, portable form) trains nothing.
"""

import math
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components import places
from components.artifacts import Artifacts, open_examples, single, statistics_files
from components.properties import CHECKPOINT, EXAMPLES_ID, TRAINED_ID
from components.shards import damage_told
from components.statistics_gen.image_statistics import PIXEL_FEATURES
from models.card import read_digest
from models.examples import Examples
from models.export import export_model
from models.features import TRAIN, VAL
from models.input_pipeline import first_records
from models.trained import read_trained
from models.warmup import batch_sizes

BYTES, DIGEST = "bytes", "digest"
_MARGIN = 2.0


def observed_ranges(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, tuple[float, float]]:
    """Returns within which values each of `PIXEL_FEATURES` lay in training, and on either side a share of that span.

    The fewer images there were, the more others lie beyond them: 1 % of 40,000, 20 % of 100.

    Args:
      statistics: of the training split, as `ImageStatisticsGen` writes them.
    """
    found = {feature.path.step[0]: feature.num_stats for feature in statistics.datasets[0].features}
    margin = _MARGIN / math.sqrt(statistics.datasets[0].num_examples)
    margins = {name: margin * (found[name].max - found[name].min) for name in PIXEL_FEATURES}
    return {name: (max(0.0, found[name].min - margin), found[name].max + margin) for name, margin in margins.items()}


def export(
    trained: Path,
    examples: Examples,
    folder: Path,
    ranges: dict[str, tuple[float, float]] | None = None,
    code: str = "",
) -> int:
    """Exports a trained model.

    Args:
      trained: folder that `save_trained` wrote.
      examples: that it was trained on; the warm-up asks about the first of their validation split.
      folder: of the SavedModel.
      ranges: of the training images, for the model's card.
      code: digest of the code that exports.

    Returns:
      The size of all files in `folder`, in bytes.

    Raises:
      TrainedError: `trained` holds no trained model.
    """
    records = first_records(examples, VAL, max(batch_sizes(examples.image_shape)))
    learned = read_trained(trained)
    export_model(
        learned.model(),
        folder,
        examples.image_shape,
        examples.class_names,
        records,
        class_values=examples.class_values or None,
        image_fit=examples.image_fit,
        ranges=ranges,
        content=f"{learned.digest()} {code}",
    )
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `export`, records size and digest, and deletes the training's last checkpoint."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        trained, model = single(input_dict, "trained"), single(output_dict, "model")
        folders = [Path(path_utils.serving_model_dir(artifact.uri)) for artifact in (trained, model)]
        statistics = statistics_files(single(input_dict, "statistics"))[TRAIN]
        ranges = observed_ranges(statistics_pb2.DatasetFeatureStatisticsList.FromString(statistics.read_bytes()))
        artifact, code = single(input_dict, "examples"), exec_properties.get("code_digest", "")
        examples = open_examples(artifact)
        with damage_told(examples, VAL):
            size = export(folders[0], examples, folders[1], ranges, code)
        model.set_int_custom_property(BYTES, size)
        model.set_string_custom_property(DIGEST, read_digest(folders[1]) or "")
        model.set_int_custom_property(TRAINED_ID, trained.id)
        model.set_int_custom_property(EXAMPLES_ID, artifact.id)
        # Until here a kill before the Trainer was told to be done would have cost all of the training.
        if checkpoint := trained.get_string_custom_property(CHECKPOINT):
            (places.folder("checkpoints") / checkpoint).unlink(missing_ok=True)


class ExporterSpec(component_spec.ComponentSpec):
    """Interface of `Exporter`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "trained": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Exporter(base_component.BaseComponent):
    """Exports what the Trainer learned; see the module's docstring."""

    SPEC_CLASS = ExporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel, statistics: types.BaseChannel, model: types.BaseChannel) -> None:
        """`model` is the Trainer's output: what it learned, which nobody can serve yet."""
        super().__init__(
            ExporterSpec(
                examples=examples,
                statistics=statistics,
                trained=model,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
