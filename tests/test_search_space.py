"""The search space over the recipe's own fields, and recipes made of what was found."""

import dataclasses

import pytest

from models.config import NetworkConfig, TrainingConfig, TuneConfig
from models.recipe import largest_batch
from models.search_space import hyperparameters, with_values
from pipeline.presets import PRESETS, preset

RECIPE = TrainingConfig()


def test_defaults_of_the_space_are_the_recipe_as_it_stands():
    for name in PRESETS:
        recipe = preset(name).training
        recipe = dataclasses.replace(recipe, learning_rate=recipe.learning_rate or 0.1)
        values = {parameter.name: parameter.default for parameter in hyperparameters(recipe).space}
        assert with_values(recipe, values) == recipe


def test_every_name_of_the_space_is_a_setting_that_set_takes():
    from pipeline.config import PipelineConfig, flatten

    assert {f"training.{parameter.name}" for parameter in hyperparameters(RECIPE).space} <= flatten(
        PipelineConfig()
    ).keys()


def test_given_settings_are_fixed_at_what_was_given():
    recipe = dataclasses.replace(RECIPE, learning_rate=0.07)
    space = {parameter.name: parameter for parameter in hyperparameters(recipe, ("learning_rate", "epochs")).space}
    assert type(space["learning_rate"]).__name__ == "Fixed"
    assert space["learning_rate"].value == 0.07
    assert type(space["batch_size"]).__name__ == "Choice"


def test_value_beyond_the_bounds_of_the_search_is_not_drawn_into_them():
    network = dataclasses.replace(NetworkConfig(), dropout=0.7)
    recipe = dataclasses.replace(
        RECIPE, network=network, learning_rate=0.1, warmup=0.5, label_smoothing=0.37, shift=5, erase=7
    )
    for given in ((), ("network.dropout", "warmup", "label_smoothing", "shift", "erase")):
        values = {parameter.name: parameter.default for parameter in hyperparameters(recipe, given).space}
        assert with_values(recipe, values) == recipe


@pytest.mark.parametrize(
    ("images", "shape", "sizes"),
    [(400, (28, 28), [50, 100]), (60_000, (28, 28), [125, 250, 500]), (60_000, (224, 224, 3), [55, 111])],
)
def test_each_batch_size_of_the_space_is_another_training(images, shape, sizes):
    # At most a quarter of the images, and 16 MiB of pixels.
    space = {p.name: p for p in hyperparameters(RECIPE, (), largest_batch(images, shape)).space}
    assert space["batch_size"].values == sizes
    assert space["batch_size"].default == min(RECIPE.batch_size, sizes[-1])


def test_learning_rate_is_searched_around_that_of_the_optimizer():
    space = {p.name: p for p in hyperparameters(dataclasses.replace(RECIPE, optimizer="adam")).space}
    assert space["learning_rate"].min_value == pytest.approx(0.002 / 3)
    assert space["learning_rate"].max_value == pytest.approx(0.006)


def test_values_take_their_place_in_the_recipe_and_its_network():
    found = with_values(RECIPE, {"shift": 2, "network.dropout": 0.3, "network.widths": "24,48,96"})
    network = dataclasses.replace(NetworkConfig(), dropout=0.3, widths=(24, 48, 96))
    assert found == dataclasses.replace(RECIPE, shift=2, network=network)


def test_value_out_of_range_is_refused():
    with pytest.raises(ValueError, match="dropout: expected 0 or more and below 1, found 1"):
        with_values(RECIPE, {"network.dropout": 1.0})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"algorithm": "hyperband"}, "cannot end a Hyperband search"),
        ({"algorithm": "grid"}, "algorithm: expected bayesian or random, found 'grid'"),
        ({"trials": 0}, "trials: expected 1 or more, found 0"),
        ({"minutes": 0.0}, "minutes: expected none, or a finite number above 0"),
        ({"fixed": ("momentum", "epochs")}, "fixed: expected names of settings below training., found momentum"),
    ],
)
def test_impossible_search_is_refused_in_a_line(values, told):
    with pytest.raises(ValueError, match=told) as error:
        TuneConfig(**values)
    assert "\n" not in str(error.value)
