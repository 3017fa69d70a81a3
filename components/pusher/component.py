"""Publishes a blessed model: whole, under a number of its own, and kept as long as the settings say.

TFX's Pusher names a version by the second, skips a second push within it and still reports it as pushed; it copies file
by file into the folder that is being watched. Here `serving_folder.offer` does it in one rename, and nothing twice. The
`PushedModel` artifact is a link to the published version: where that is gone, TFX's cache misses it and the model is
pushed again. A driver sees to the rest of what a cached push may not say: a model that another push has superseded is
pushed again, while what a rollback took back stays so. A run may end before the push (`push`); `pipeline.publish` does
it later.
"""

import os
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.components.base.base_driver import BaseDriver as DriverOfOld
from tfx.orchestration.portable import data_types
from tfx.orchestration.portable.base_driver import BaseDriver
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from components import places
from components.artifacts import Artifacts, single
from components.latest_blessed import MODEL_ID
from components.pusher.history import content_digest
from components.pusher.outcomes import HELD_BACK, NOT_BLESSED, TAKEN_BACK
from components.pusher.serving_folder import offer, superseded
from models.card import read_card

# Of a PushedModel: what came of it, where it was or would have been published, and what it is.
OUTCOME, PLACE, CONTENT = "outcome", "serving_folder", "content_digest"


def _served_path(input_dict: Artifacts) -> Path:
    return Path(path_utils.serving_model_path(single(input_dict, "model").uri))


# A component accepts only the one, the launcher calls the other, as TFX's own drivers are both.
class Driver(DriverOfOld, BaseDriver):
    """Puts into the cache key which later push superseded the model: a cached push would say that it is served."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the property `superseded_by`: a version, or 0."""
        base = places.folder("serving") / execution_info.exec_properties["name"]
        output = driver_output_pb2.DriverOutput()
        version = superseded(_served_path(execution_info.input_dict), base)
        output.exec_properties["superseded_by"].int_value = version or 0
        return output


class _Executor(tfx_pusher.Executor):
    """Pushes what both blessings allow."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        pushed = single(output_dict, "pushed_model")
        base, model = places.folder("serving") / exec_properties["name"], _served_path(input_dict)
        pushed.set_string_custom_property(PLACE, str(base))
        pushed.set_string_custom_property(CONTENT, content_digest(model))
        pushed.set_int_custom_property(MODEL_ID, single(input_dict, "model").id)
        if not self.CheckBlessing(input_dict) or not exec_properties["push"]:
            self._MarkNotPushed(pushed)
            blessed = self.CheckBlessing(input_dict)
            pushed.set_string_custom_property(OUTCOME, HELD_BACK if blessed else NOT_BLESSED)
            return
        card = None if exec_properties["replace_other_classes"] else read_card(model)
        may_grow = bool(exec_properties["classes_may_grow"])
        found = offer(model, base, keep=exec_properties["keep"], card=card, may_grow=may_grow)
        version = base / str(found.version)
        link = Path(pushed.uri)
        link.rmdir()
        link.symlink_to(os.path.relpath(version, link.parent.resolve()))
        pushed.set_string_custom_property(OUTCOME, found.outcome)
        if found.outcome == TAKEN_BACK:
            self._MarkNotPushed(pushed)
        else:
            self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


class VersionedPusherSpec(component_spec.ComponentSpec):
    """Interface of `VersionedPusher`."""

    PARAMETERS = {
        "name": component_spec.ExecutionParameter(type=str),
        "keep": component_spec.ExecutionParameter(type=int),
        "replace_other_classes": component_spec.ExecutionParameter(type=int),
        "classes_may_grow": component_spec.ExecutionParameter(type=int),
        "push": component_spec.ExecutionParameter(type=int),
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
    DRIVER_CLASS = Driver

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        name: str,
        keep: int,
        replace_other_classes: bool,
        classes_may_grow: bool = False,
        push: bool = True,
    ) -> None:
        """Takes what to publish, and how.

        Args:
          model: of the Exporter.
          model_blessing, infra_blessing: without which it is not pushed.
          name: of the folder below `places.folder("serving")` that a model server watches.
          keep: how many models stay there.
          replace_other_classes: whether the served one may answer about other classes or another shape.
          classes_may_grow: whether it may answer about some more.
          push: whether to publish at all.
        """
        super().__init__(
            VersionedPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                name=name,
                keep=keep,
                replace_other_classes=int(replace_other_classes),
                classes_may_grow=int(classes_may_grow),
                push=int(push),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
