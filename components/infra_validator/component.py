"""Serves a candidate in a process of its own before it may be blessed, and refuses one that cannot be served.

TFX's InfraValidator wants Docker or Kubernetes. Here a fresh Python process without this project on its path loads the
exported files, answers the test split through both signatures and from LiteRT, and measures latency; see `client.py`.
"""

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components.artifacts import Artifacts, open_examples, single
from components.infra_validator.serving import serve_once
from models.files import write_text

REPORT_FILE = "served.json"


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `serve_once` and records what it measured."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        blessing = single(output_dict, "blessing")
        model = Path(path_utils.serving_model_path(single(input_dict, "model").uri))
        # Not the system's temporary folder, which may lie in memory.
        measured = serve_once(model, open_examples(single(input_dict, "examples")), Path(blessing.uri))
        write_text(Path(blessing.uri, REPORT_FILE), json.dumps(measured, indent=2) + "\n")
        blessing.set_int_custom_property("blessed", 1)
        blessing.set_string_custom_property("measured", json.dumps(measured))


class InfraValidatorSpec(component_spec.ComponentSpec):
    """Interface of `InfraValidator`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraValidator(base_component.BaseComponent):
    """Refuses a model that cannot be served; see the module's docstring."""

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel, model: types.BaseChannel) -> None:
        super().__init__(
            InfraValidatorSpec(
                examples=examples, model=model, blessing=types.Channel(type=standard_artifacts.InfraBlessing)
            )
        )
