"""Tuner that records its trials in ML Metadata and hands the best hyperparameters to the Trainer.

The search itself is `models/tuner.py`. TFX's executor leaves what came of it in files; here it becomes a property of
the artifact `tuner_results`, and TensorBoard's HParams page finds it under the id of the run with ".trials" behind it.

Synopsis:

    examples = Channel(type=standard_artifacts.Examples)
    tuner = ReportingTuner(examples=examples, tuner_fn="models.tuner.tuner_fn")
    tuner.outputs["best_hyperparameters"].type.TYPE_NAME            # "HyperParameters"
"""

import json
from pathlib import Path
from typing import Any

from tfx.components.tuner import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY

from components import places
from components.artifacts import Artifacts, open_examples, single
from components.errors import InputError
from components.shards import damage_told
from components.trainer.component import located
from components.trainer.logs import show_files
from models.features import TRAIN, VAL
from models.tuner import write_hparams

TRIALS, VALUES = "trials", "values"
LOGS = "tensorboard"


class _Executor(executor.Executor):
    """Searches as TFX's does, then copies the trials into the properties of what it put out."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        examples = open_examples(single(input_dict, "examples"))
        config = located(exec_properties[CUSTOM_CONFIG_KEY], examples, places.folder("trials"), places.memory())
        with damage_told(examples, TRAIN, VAL):
            tuner = executor.search(input_dict, {**exec_properties, CUSTOM_CONFIG_KEY: config}, self._get_tmp_dir())
        table = tuner.table()
        check(table)
        executor.write_best_hyperparameters(tuner, output_dict)
        results, best = single(output_dict, "tuner_results"), single(output_dict, "best_hyperparameters")
        write_hparams(Path(results.uri, LOGS), table)
        if (link := places.told("tensorboard")) is not None:
            show_files(link.with_name(f"{link.name}.trials"), Path(results.uri, LOGS).resolve())
        results.set_string_custom_property(TRIALS, json.dumps(table))
        best.set_string_custom_property(VALUES, json.dumps(tuner.get_best_hyperparameters()[0].values))
        best.set_float_custom_property("val_accuracy", max(trial["val_accuracy"] for trial in table))


def check(table: list[dict]) -> None:
    """Raises InputError where no trial of a search came to its end: there is nothing to hand on."""
    if all(trial["failed"] for trial in table):
        raise InputError(
            f"each of the {len(table)} trials failed, the first because {table[0]['failed']}. Give other settings, or "
            "search wider."
        )


class ReportingTuner(component.Tuner):
    """TFX's Tuner with the properties of what it puts out filled in; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)
