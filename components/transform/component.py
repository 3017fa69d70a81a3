"""Transform that asks the examples what they hold.

TFX hands `preprocessing_fn` a configuration of the pipeline's. Shape and encoding of the images are facts of the
examples at hand, which a part of the pipeline may have from another run; so the executor takes them from the artifact.
"""

from typing import Any

from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY, EXAMPLES_KEY
from tfx.utils import json_utils

from components.artifacts import Artifacts, open_examples, single
from models import preprocessing

PREPROCESSING_FN = f"{preprocessing.__name__}.{preprocessing.preprocessing_fn.__name__}"


class _Executor(executor.Executor):
    """Runs TFX's with the shape and the encoding of the examples as its configuration."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, EXAMPLES_KEY))
        config = {"image_shape": list(examples.image_shape), "image_encoding": examples.encoding}
        super().Do(input_dict, output_dict, {**exec_properties, CUSTOM_CONFIG_KEY: json_utils.dumps(config)})


class ImageTransform(component.Transform):
    """TFX's Transform for images; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)
