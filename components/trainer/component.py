"""Trainer that records in ML Metadata how the training went and what its profile says.

TFX's Trainer leaves that in files. `models.trainer.run_fn` writes them as `training.json` into the model run; here they
become properties of that artifact. The folder of its output `model` holds what was learned, not yet a servable model:
that is the Exporter's.
"""

import errno
import json
import logging
from pathlib import Path
from typing import Any

from tfx.components.trainer import component
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import executor_spec
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY
from tfx.utils import json_utils

from components import places
from components.artifacts import Artifacts, open_examples, single
from components.errors import InputError
from components.properties import CHECKPOINT
from components.shards import damage_told
from components.trainer.logs import show_files, show_folder
from models.examples import Examples
from models.features import TRAIN, VAL
from models.profile_report import INPUT_SHARE_LIMIT
from models.trainer import REPORT_FILE

progress = logging.getLogger("progress")


def located(custom_config: str, examples: Examples, checkpoint_dir: Path, memory: int) -> str:
    """Adds to TFX's `custom_config`, JSON, where data and checkpoints lie, what the data are, and the budget in bytes.

    Only here, when the Trainer runs: as a property of the node it would be part of the cache key, and the same data in
    another folder would train anew.
    """
    where = {
        "examples": {"folder": str(examples.folder), "properties": examples.properties()},
        "checkpoint_dir": str(checkpoint_dir),
        "memory": memory,
    }
    return json_utils.dumps({**json_utils.loads(custom_config), **where})


class _Executor(GenericExecutor):
    """Trains as TFX's does, then copies `training.json` into the properties of the model run."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, "examples"))
        config = located(exec_properties[CUSTOM_CONFIG_KEY], examples, places.folder("checkpoints"), places.memory())
        model_run = single(output_dict, "model_run")
        if (link := places.told("tensorboard")) is not None:
            # Before the training, so that it can be watched.
            show_folder(link, Path(model_run.uri).resolve())
            model_run.set_string_custom_property("run", link.name)
        try:
            with damage_told(examples, TRAIN, VAL):
                super().Do(input_dict, output_dict, {**exec_properties, CUSTOM_CONFIG_KEY: config})
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise InputError(
                f"{places.folder('checkpoints')}: the training images or what is learned cannot be written "
                f"({error.strerror}). Free some space or choose another --output-root."
            ) from error
        if link is not None:
            show_files(link, Path(model_run.uri).resolve())
        report = json.loads(Path(model_run.uri, REPORT_FILE).read_text())
        single(output_dict, "model").set_string_custom_property(CHECKPOINT, report.pop(CHECKPOINT))
        model_run.set_string_custom_property("training", json.dumps(report))
        model_run.set_float_custom_property("val_accuracy", report["val_accuracy"])
        if report["profile"]:
            model_run.set_float_custom_property("step_ms", report["profile"]["step_ms"])
            model_run.set_float_custom_property("input_share", report["profile"]["input_share"])
            if report["profile"]["input_share"] > INPUT_SHARE_LIMIT:
                progress.warning(
                    "Trainer: expected at most %.0f %% of a step spent waiting for input, found %.1f %%",
                    100 * INPUT_SHARE_LIMIT,
                    100 * report["profile"]["input_share"],
                )


class ReportingTrainer(component.Trainer):
    """TFX's Trainer with the properties of its model run filled in; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)
