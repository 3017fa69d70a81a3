"""Serves a candidate in a process of its own before it may be blessed, and refuses one that cannot be served.

TFX's InfraValidator wants Docker or Kubernetes. Here a fresh Python process without this project on its path loads the
exported files, answers the test split through both signatures and from LiteRT, and measures latency; see
`canary_client.py`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from components import canary_client
from components.errors import ModelRefused
from models.features import TEST
from models.input_pipeline import open_split

REPORT_FILE = "canary.json"
# LiteRT sums in another order; of 10,000 images ten may fall on the other side of a boundary.
DISAGREEMENT_LIMIT = 0.001
_TIMEOUT_SECONDS = 600


def serve_once(saved_model: Path, shards: list[str], image_shape: tuple[int, ...]) -> dict:
    """Asks a model about the images of some shards, in a fresh process.

    Args:
      saved_model: its folder.
      shards: TFRecord files.
      image_shape: of their images.

    Returns:
      What `canary_client.py` measured: size in bytes, latency in milliseconds by signature and batch size, the number
      of images that LiteRT takes for another class.

    Raises:
      ModelRefused: an answer is missing, wrong or late.
    """
    split = open_split(shards, image_shape=image_shape, cache_mib=float("inf"))
    with tempfile.TemporaryDirectory() as scratch:
        images, report = Path(scratch, "images.npy"), Path(scratch, REPORT_FILE)
        np.save(images, split.images.reshape(-1, *image_shape))
        # Isolated: neither the environment nor the current folder puts anything on its path.
        command = [sys.executable, "-I", canary_client.__file__, str(saved_model), str(images), str(report)]
        try:
            done = subprocess.run(
                [*command, *split.files], cwd=scratch, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ModelRefused(
                f"{saved_model}: expected answers to {split.size:,} images within {_TIMEOUT_SECONDS} s, found none."
            ) from None
        if done.returncode or not report.exists():
            # Libraries warn on standard error as well; the verdict is what comes last.
            reason = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
            raise ModelRefused(f"{saved_model}: the model cannot be served: {reason}.")
        measured = json.loads(report.read_text())
    allowed = int(DISAGREEMENT_LIMIT * split.size)
    if measured["litert_disagreements"] > allowed:
        raise ModelRefused(
            f"{saved_model}: expected the portable model to take at most {allowed} of {split.size:,} images for "
            f"another class, found {measured['litert_disagreements']}."
        )
    return measured


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `serve_once` and records what it measured."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        shards = Path(artifact_utils.get_split_uri([examples], TEST)).glob("data_tfrecord-*")
        shape = tuple(json.loads(examples.get_string_custom_property("image_shape")))
        measured = serve_once(Path(model), sorted(map(str, shards)), shape)
        Path(blessing.uri, REPORT_FILE).write_text(json.dumps(measured, indent=2) + "\n")
        blessing.set_int_custom_property("blessed", 1)
        blessing.set_string_custom_property("measured", json.dumps(measured))


class CanarySpec(component_spec.ComponentSpec):
    """Interface of `Canary`."""

    PARAMETERS = {}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class Canary(base_component.BaseComponent):
    """Refuses a model that cannot be served; see the module's docstring."""

    SPEC_CLASS = CanarySpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel, model: types.BaseChannel) -> None:
        super().__init__(
            CanarySpec(examples=examples, model=model, blessing=types.Channel(type=standard_artifacts.InfraBlessing))
        )
