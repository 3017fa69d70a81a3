"""Trainer that records in ML Metadata how the training went and what its profile says.

TFX's Trainer leaves that in files. `models.trainer.run_fn` writes them as `training.json` into the model run; here they
become properties of that artifact.
"""

import json
import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.trainer import component
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils

from models.profile_report import INPUT_SHARE_LIMIT
from models.trainer import REPORT_FILE

progress = logging.getLogger("progress")


class _Executor(GenericExecutor):
    """Trains as TFX's does, then copies `training.json` into the properties of the model run."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        model_run = artifact_utils.get_single_instance(output_dict["model_run"])
        report = json.loads(Path(model_run.uri, REPORT_FILE).read_text())
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
