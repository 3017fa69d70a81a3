"""Transform that asks the examples what they hold, and writes the standard TransformGraph artifact.

Shape and encoding of the images are facts of the examples at hand, which a part of the pipeline may have from another
run; so the executor takes them from the artifact, and no setting tells them.
"""

import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import Artifacts, open_examples, plainly_named, single
from components.transform.analysis import write_graph


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the examples, and calls `write_graph`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, "examples"))
        with plainly_named(output_dict):
            folder = Path(single(output_dict, "transform_graph").uri)
            folder.mkdir(parents=True, exist_ok=True)
            # In there, for TensorFlow Transform loads what it has put aside, by a name that may be no pattern.
            with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
                write_graph(examples, folder, Path(scratch), self._make_beam_pipeline())


class ImageTransformSpec(component_spec.ComponentSpec):
    """Interface of `ImageTransform`."""

    PARAMETERS = {}
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph)}


class ImageTransform(base_beam_component.BaseBeamComponent):
    """Computes the statistics that standardize each pixel; see the module's docstring."""

    SPEC_CLASS = ImageTransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel) -> None:
        super().__init__(
            ImageTransformSpec(
                examples=examples,
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
            )
        )
