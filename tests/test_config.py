"""Settings refuse what cannot work, by name; presets are values and nothing else."""

import dataclasses
import json
import re

import pytest

from components.errors import InputError
from models.config import NetworkConfig, TrainingConfig
from pipeline import presets
from pipeline.config import PipelineConfig, build, declared_type, flatten, nearest
from pipeline.presets import PRESETS, WHERE_SLOW, preset

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "fashion mnist", "letters, digits, _ and - only, found 'fashion mnist'"),
        ("name", "", "letters, digits, _ and - only, found ''"),
        ("name", "mnist\n", r"letters, digits, _ and - only, found 'mnist\n'"),
        ("variant", "a/b", "letters, digits, _ and - only, found 'a/b'"),
        ("seed", -1, "0 to 2147483647, found -1"),
        ("seed", 2**31, "0 to 2147483647, found 2147483648"),
        ("image_encoding", "bmp", "tensor or jpeg or png, found 'bmp'"),
        ("compression", "ZIP", "'' or GZIP, found 'ZIP'"),
        ("gate_severity", "info", "warning or error, found 'info'"),
        ("accuracy_tolerance", 2, "none, or 0 to 1, found 2"),
        ("accuracy_tolerance", NAN, "none, or 0 to 1, found nan"),
        ("kept_versions", 0, "1 or more, found 0"),
        ("kept_runs", 0, "none, or 1 or more, found 0"),
        ("memory_mib", 255.9, "none, or a finite number from 256, found 255.9"),
        ("memory_mib", INFINITY, "none, or a finite number from 256, found inf"),
        ("memory_mib", NAN, "none, or a finite number from 256, found nan"),
        ("on_end", "", "none, or a command, found none between the quotes"),
        ("on_end_seconds", 0, "a finite number above 0, found 0"),
        ("on_end_seconds", INFINITY, "a finite number above 0, found inf"),
        ("on_end_seconds", NAN, "a finite number above 0, found nan"),
        ("shards", (4, 0, 2), "none, or 1 or more for each split, found (4, 0, 2)"),
        ("shards", (4, 1), "one entry for each of train, val, test, found (4, 1)"),
        ("split_sizes", (None, 0, None), "whole numbers from 1, or fractions, found (None, 0, None)"),
        ("split_sizes", (0.9, -0.1, None), "whole numbers from 1, or fractions, found (0.9, -0.1, None)"),
        ("split_sizes", (4000.5, 500, None), "whole numbers from 1, or fractions, found (4000.5, 500, None)"),
        ("split_sizes", (INFINITY, 500, None), "whole numbers from 1, or fractions, found (inf, 500, None)"),
        ("split_limits", (None, 0, None), "none, or whole numbers from 1, found (None, 0, None)"),
        ("split_limits", (1, 2), "one entry for each of train, val, test, found (1, 2)"),
        ("image_size", (0, 28), "none, or height and width of 1 or more, found (0, 28)"),
        ("image_channels", 2, "none, 1 or 3, found 2"),
        ("image_fit", "squeeze", "pad or crop or stretch, found 'squeeze'"),
        ("broken_images", -1, "0 or more, found -1"),
        ("duplicate_tolerance", 1.5, "a share from 0 to 1, found 1.5"),
        ("duplicate_tolerance", NAN, "a share from 0 to 1, found nan"),
        ("split_sizes", (None, 10), "one entry for each of train, val, test, found (None, 10)"),
    ],
)
def test_refusal_names_the_setting_what_is_expected_and_what_was_found(field, value, expected):
    with pytest.raises(InputError, match=rf"^{field}: expected {re.escape(expected)}\.$"):
        preset("fast", **{field: value})


@pytest.mark.parametrize("floor", [NAN, INFINITY, -INFINITY])
def test_floor_that_is_no_number_is_refused_by_its_name(floor):
    with pytest.raises(InputError, match=rf"^floors\.accuracy@class=Bag: expected a finite number, found {floor}\.$"):
        PipelineConfig(floors={"accuracy@class=Bag": floor})


def test_floor_of_no_metric_is_refused():
    with pytest.raises(InputError, match=r"^floors\.: expected the name of a metric after the dot, found none\.$"):
        PipelineConfig(floors={"": 0.5})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("seed", -1, "none or 0 to 2147483647, found -1"),
        ("seed", 2**31, "none or 0 to 2147483647, found 2147483648"),
        ("epochs", 0, "1 or more, found 0"),
        ("batch_size", 0, "1 or more, found 0"),
        ("min_epoch_steps", 0, "1 or more, found 0"),
        ("class_weights", "rare", "none or balanced, found 'rare'"),
        ("patience", 0, "none or 1 or more, found 0"),
        ("learning_rate", 0, "none, or a finite number above 0, found 0"),
        ("learning_rate", NAN, "none, or a finite number above 0, found nan"),
        ("learning_rate", INFINITY, "none, or a finite number above 0, found inf"),
        ("warmup", 1, "0 or more and below 1, found 1"),
        ("warmup", NAN, "0 or more and below 1, found nan"),
        ("prune", 0.91, "0 to 0.9, found 0.91"),
        ("prune", NAN, "0 to 0.9, found nan"),
        ("label_smoothing", 1.0, "0 or more and below 1, found 1.0"),
        ("label_smoothing", -0.1, "0 or more and below 1, found -0.1"),
        ("shift", -1, "0 or more, found -1"),
        ("erase", -1, "0 or more, found -1"),
        ("erase_share", 1.1, "0 to 1, found 1.1"),
        ("erase_share", NAN, "0 to 1, found nan"),
        ("precision", "float16", "auto or float32 or bfloat16, found 'float16'"),
    ],
)
def test_recipe_refuses_what_cannot_be_trained(field, value, expected):
    with pytest.raises(ValueError, match=rf"^{field}: expected {re.escape(expected)}\.$"):
        TrainingConfig(**{field: value})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": ""}, "kind: expected the name of a network, found ''."),
        ({"stem_size": 0}, "stem_size: expected 1 or more, found 0."),
        ({"widths": ()}, "widths: expected at least one stage, found ()."),
        ({"widths": (32, 0, 128)}, "widths: expected 1 or more for each stage, found (32, 0, 128)."),
        ({"blocks": (1, -1, 1)}, "blocks: expected 0 or more for each stage, found (1, -1, 1)."),
        ({"members": 0}, "members: expected 1 or more, found 0."),
        ({"widths": (16, 32)}, "widths: expected one entry a stage, like blocks (3) and pools (3), found 2 entries."),
        ({"blocks": ()}, "blocks: expected one entry a stage, like widths (3) and pools (3), found 0 entries."),
        (
            {"widths": (16, 32), "blocks": (1, 1)},
            "pools: expected one entry a stage, like widths (2) and blocks (2), found 3 entries.",
        ),
    ],
)
def test_network_refuses_stages_that_cannot_be_built(changes, expected):
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        NetworkConfig(**changes)


def test_values_at_the_bounds_are_taken():
    config = build(
        {"seed": 2**31 - 1, "training.warmup": 0, "training.erase_share": 1, "training.network.stem_size": 1}
    )
    assert (config.seed, config.training.warmup, config.training.erase_share) == (2**31 - 1, 0, 1)
    assert preset("fast", seed=0, split_sizes=(1, 0.5, None), accuracy_tolerance=0).seed == 0


def test_recipe_survives_json():
    training = preset("best").training
    assert TrainingConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(training)))) == training


def test_flattened_settings_have_dotted_names_and_build_the_same_configuration(monkeypatch):
    monkeypatch.setattr(presets, "trains_slowly", lambda: False)
    config = preset("best", seed=7, floors={"accuracy": 0.5, "accuracy@class=T-shirt/top": 0.1})
    leaves = flatten(config)
    assert leaves["seed"] == 7
    assert leaves["floors.accuracy@class=T-shirt/top"] == 0.1
    assert leaves["training.network.widths"] == (32, 64, 128, 256)
    assert build(leaves) == config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("training.epochs", 0, "training.epochs: expected 1 or more, found 0."),
        ("training.network.members", 0, "training.network.members: expected 1 or more, found 0."),
        ("seed", -1, "seed: expected 0 to 2147483647, found -1."),
    ],
)
def test_refusal_of_a_nested_value_begins_with_its_dotted_name(name, value, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        build({name: value})


def test_declared_types_reach_into_groups_and_floors():
    assert declared_type("training.epochs") is int
    assert declared_type("training.network") is NetworkConfig
    assert declared_type("floors.accuracy@class=4.5") is float
    assert [declared_type(name) for name in ("epochs", "training.", "seed.x", "")] == [None] * 4


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("training.epoch", "training.epochs"),
        ("epochs", "training.epochs"),
        ("precision", "training.precision"),
        ("sed", "seed"),
        ("training.width", "training.network.widths"),
        ("network.kind", "training.network.kind"),
        ("floor.accuracy", "floors.accuracy"),
    ],
)
def test_nearest_setting_is_the_one_that_was_meant(typed, meant):
    assert nearest(typed) == meant


def test_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"^--preset warp: expected smoke, fast, best\.$"):
        preset("warp")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("slow", [False, True])
def test_preset_is_the_defaults_with_other_values_some_of_them_by_machine(name, slow, monkeypatch):
    monkeypatch.setattr(presets, "trains_slowly", lambda: slow)
    config, default = flatten(preset(name)), flatten(PipelineConfig())
    changed = PRESETS[name] | (WHERE_SLOW.get(name, {}) if slow else {})
    assert config == {**default, "preset": name, **changed}
    assert changed.keys() <= default.keys()


def test_slow_machine_s_preset_has_as_many_stages():
    """So that a command that sets one of widths, blocks and pools is no other on another machine."""
    for name, values in WHERE_SLOW.items():
        usual = {**flatten(PipelineConfig()), **PRESETS[name]}
        for leaf, value in values.items():
            assert not isinstance(value, tuple) or len(value) == len(usual[leaf])


def test_presets_have_no_floors_of_their_own_which_are_the_data_sets():
    assert [preset(name).floors for name in PRESETS] == [{}] * len(PRESETS)


def test_smoke_is_a_variant_and_best_an_ensemble(monkeypatch):
    monkeypatch.setattr(presets, "trains_slowly", lambda: False)
    assert (preset("smoke").variant, preset("best").variant, preset("best").training.network.members) == (
        "smoke",
        "",
        3,
    )


def test_changes_go_before_the_values_of_the_preset():
    assert preset("smoke", floors={"accuracy": 0.25}).floors == {"accuracy": 0.25}
    assert preset("smoke", training=TrainingConfig()).training == TrainingConfig()


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("fast").seed = 1
