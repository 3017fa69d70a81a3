"""The profile as TensorBoard's profile page reads it, without a browser."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from models.profiling import StepProfiler


@pytest.fixture
def model() -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def fit(model: keras.Model, folder: Path, *, first_step: int, steps: int, batches: int = 8) -> list[Path]:
    """Trains for some batches and returns the profiles."""
    profiler = StepProfiler(str(folder), first_step, steps)
    data = np.zeros((batches * 4, 8)), np.zeros((batches * 4, 1))
    model.fit(*data, batch_size=4, verbose=0, callbacks=[profiler])
    return sorted(folder.glob("plugins/profile/*/*.xplane.pb"))


def profiled_steps(profile: Path) -> list[str]:
    """Returns the names of the steps that xprof's input pipeline analysis finds."""
    from xprof.convert import raw_to_tool_data

    options = {"use_saved_result": False}
    content, _ = raw_to_tool_data.xspace_to_tool_data([str(profile)], "input_pipeline_analyzer", options)
    _, steps, *_ = json.loads(content)
    return [row["c"][0]["v"] for row in steps["rows"]]


def test_profile_page_finds_the_steps_asked_for(model, tmp_path):
    (profile,) = fit(model, tmp_path, first_step=2, steps=3)
    assert profiled_steps(profile) == ["train 2", "train 3", "train 4"]


def test_training_that_ends_early_still_leaves_its_profile(model, tmp_path):
    (profile,) = fit(model, tmp_path, first_step=6, steps=10)
    assert profiled_steps(profile) == ["train 6", "train 7"]


def test_training_shorter_than_the_first_step_is_not_profiled(model, tmp_path):
    assert fit(model, tmp_path, first_step=8, steps=3) == []
