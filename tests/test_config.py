"""Settings refuse what cannot work, by name; presets are values and nothing else."""

import dataclasses
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import PRESETS, PipelineConfig, preset


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("seed", -1, "0 to 2147483647, found -1"),
        ("seed", 2**31, "found 2147483648"),
        ("image_encoding", "bmp", "tensor or jpeg or png, found bmp"),
        ("compression", "ZIP", "'' or GZIP, found ZIP"),
        ("gate_severity", "info", "warning or error, found info"),
        ("accuracy_floor", 1.01, "0 to 1, found 1.01"),
        ("class_accuracy_floor", -0.1, "found -0.1"),
        ("accuracy_tolerance", 2, "found 2"),
        ("accuracy_floor", float("nan"), "found nan"),
        ("shards", (4, 0, 2), r"one or more for each split, found \(4, 0, 2\)"),
        ("split_sizes", (None, 0, None), r"positive sizes, found \(None, 0, None\)"),
        ("split_sizes", (0.9, -0.1, None), "positive sizes"),
    ],
)
def test_refusal_names_the_setting_what_is_expected_and_what_was_found(field, value, expected):
    with pytest.raises(InputError, match=rf"^{field}: expected .*{expected}"):
        preset("fast", **{field: value})


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_seeds_at_the_bounds_are_taken(seed):
    assert preset("fast", seed=seed).seed == seed


def test_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"--preset warp: expected smoke, fast, best\."):
        preset("warp")


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_the_defaults_with_other_values(name):
    config = preset(name)
    default = PipelineConfig()
    changed = {
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    }
    assert type(config) is PipelineConfig
    assert config.preset == name
    assert changed - {"preset"} == {key for key, value in PRESETS[name].items() if value != getattr(default, key)}


def test_changes_go_before_the_values_of_the_preset():
    assert preset("smoke", accuracy_floor=0.25).accuracy_floor == 0.25


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("fast").seed = 1


def test_everything_a_run_makes_lies_below_the_output_root():
    config = preset("fast", output_root=Path("/somewhere"))
    paths = (config.metadata_path, config.artifacts_root, config.serving_dir("model"), config.runs_dir)
    assert len(set(paths)) == 4
    assert all(path.is_relative_to("/somewhere") for path in paths)
