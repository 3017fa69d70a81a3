"""Publishes a blessed model: whole, under a number of its own, and kept as long as the settings say.

TFX's Pusher names a version by the second, skips a second push within it and still reports it as pushed; it copies file
by file into the folder that is being watched. Here `serving_folder.publish` does it in one rename. The `PushedModel`
artifact is a link to the published version: where that is gone, TFX's cache misses it and the model is pushed again.
"""

import os
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from components.serving_folder import publish


class _Executor(tfx_pusher.Executor):
    """Pushes what both blessings allow."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        base = Path(exec_properties["destination"])
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        version = publish(Path(model), base, keep=exec_properties["keep"])
        link = Path(pushed.uri)
        link.rmdir()
        link.symlink_to(os.path.relpath(base / str(version), link.parent.resolve()))
        self._MarkPushed(pushed, pushed_destination=str(base / str(version)), pushed_version=str(version))


class VersionedPusherSpec(component_spec.ComponentSpec):
    """Interface of `VersionedPusher`."""

    PARAMETERS = {
        "destination": component_spec.ExecutionParameter(type=str),
        "keep": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class VersionedPusher(base_component.BaseComponent):
    """Publishes a blessed model; see the module's docstring."""

    SPEC_CLASS = VersionedPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        destination: str,
        keep: int,
    ) -> None:
        """`destination` is the folder that a model server watches, `keep` the number of models that stay there."""
        super().__init__(
            VersionedPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                destination=destination,
                keep=keep,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
