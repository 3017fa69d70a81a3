"""The search in rounds, on made-up outcomes: the trials, their order, the rule that gives up, the budget."""

import dataclasses
import itertools

import keras_tuner
import pytest

from components.errors import InputError
from components.tuner.component import check
from models.config import TrainingConfig
from models.search_space import hyperparameters
from models.trials import Outcome
from models.tuner import OBJECTIVE, RoundTuner, new_oracle

RECIPE = TrainingConfig(epochs=3)


class MadeUp:
    """Stands for `Trials`: the accuracy of a recipe is a function of it, and every call is noted."""

    def __init__(self, seconds: float = 10.0, processes: int = 2) -> None:
        self.rounds: list[tuple[list, list]] = []
        self.processes = processes
        self._seconds = seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, trials, *, others):
        self.rounds.append((list(trials), list(others)))
        for trial in trials:
            distance = abs(trial.config.learning_rate - 0.2) + trial.config.network.dropout / 10
            accuracy = 0.9 - distance
            yield Outcome(
                val_accuracy=accuracy,
                curve=(accuracy - 0.1, accuracy - 0.05, accuracy),
                stopped=False,
                seconds=self._seconds,
                cpu_seconds=self._seconds,
                parameters=1,
                multiply_adds=1,
                examples_per_second=1.0,
            )


def search(folder, *, trials=9, side_by_side=2, minutes=None, algorithm="random", given=(), seed=3, processes=2):
    recipe = dataclasses.replace(RECIPE, learning_rate=0.1)
    oracle = new_oracle(algorithm, trials, hyperparameters(recipe, given), seed)
    tuner, made_up = RoundTuner(oracle, recipe, seed=seed, directory=folder), MadeUp(processes=processes)
    tuner.search(made_up, side_by_side=side_by_side, minutes=minutes)
    return tuner, made_up


# A Gaussian process takes seconds for each trial that it proposes.
@pytest.fixture(scope="module", params=[pytest.param("bayesian", marks=pytest.mark.slow), "random"])
def searched(request, tmp_path_factory):
    return (*search(tmp_path_factory.mktemp("search"), algorithm=request.param), request.param)


def test_first_trial_is_the_recipe_as_it_stands(searched):
    _, made_up, _ = searched
    assert made_up.rounds[0][0][0].config == dataclasses.replace(RECIPE, learning_rate=0.1)


def test_every_trial_is_another_and_has_the_seed_of_the_training(searched):
    _, made_up, _ = searched
    trials = [trial for asked, _ in made_up.rounds for trial in asked]
    assert len({repr(trial.config) for trial in trials}) == len(trials) == 9
    assert {trial.seed for trial in trials} == {3}


def test_rounds_see_the_curves_of_the_rounds_before_and_no_others(searched):
    _, made_up, _ = searched
    assert [(len(asked), len(others)) for asked, others in made_up.rounds] == [(2, 0), (2, 2), (2, 4), (2, 6), (1, 8)]


def test_same_search_gives_the_same_trials(searched, tmp_path):
    tuner, _, algorithm = searched
    assert search(tmp_path, algorithm=algorithm)[0].table() == tuner.table()


def test_best_is_the_trial_of_the_highest_validation_accuracy(searched):
    tuner, _, _ = searched
    best = max(tuner.table(), key=lambda trial: trial["val_accuracy"])
    assert tuner.get_best_hyperparameters()[0].values == best["values"]
    # TFX's executor asks for as many as were to be tried.
    assert len(tuner.oracle.get_best_trials(tuner.oracle.max_trials)) == 9


@pytest.mark.slow
@pytest.mark.faults
def test_bayesian_search_proposes_better_than_it_began_with(tmp_path):
    # Seven are drawn at random; what is proposed then wanders for a while. The same seed, the same trials.
    tuner, _ = search(tmp_path, trials=20, algorithm="bayesian")
    accuracies = [trial["val_accuracy"] for trial in tuner.table()]
    assert max(accuracies[7:]) > max(accuracies[:7])
    assert sum(accuracies[-7:]) > sum(accuracies[:7])


def test_given_settings_stay_as_they_are(tmp_path):
    tuner, _ = search(tmp_path, given=("learning_rate",))
    assert {trial["values"]["learning_rate"] for trial in tuner.table()} == {0.1}


def test_no_round_begins_once_the_minutes_are_over(tmp_path):
    # Rounds of 10 s side by side: 0, 10 and 20 s are below 30 s.
    tuner, _ = search(tmp_path, minutes=0.5)
    assert len(tuner.table()) == 6


@pytest.mark.parametrize(
    ("side_by_side", "processes", "trials"),
    [
        # One after another: rounds of 20 s, at 0 and 20 s.
        (2, 1, 4),
        # Three in two processes: 20 s again.
        (3, 2, 6),
        (3, 3, 9),
    ],
)
def test_round_takes_what_its_trials_do_in_the_processes_there_are(tmp_path, side_by_side, processes, trials):
    tuner, _ = search(tmp_path, minutes=0.5, side_by_side=side_by_side, processes=processes)
    assert len(tuner.table()) == trials


def test_round_takes_as_long_as_it_did_where_its_trials_do_not_know(tmp_path, monkeypatch):
    # A lost process is told with 0 s. The clock goes on by 40 s from one look to the next.
    clock = itertools.count(0, 40)
    monkeypatch.setattr("models.tuner.time.monotonic", lambda: next(clock))
    tuner, _ = search(tmp_path, minutes=0.5)
    assert len(tuner.table()) == 2


def test_search_of_one_trial_is_the_recipe_alone(tmp_path):
    tuner, _ = search(tmp_path, trials=1)
    assert [trial["values"]["learning_rate"] for trial in tuner.table()] == [0.1]


def test_space_that_is_fixed_altogether_is_tried_once(tmp_path):
    names = [parameter.name for parameter in hyperparameters(RECIPE).space]
    tuner, _ = search(tmp_path, given=names)
    assert len(tuner.table()) == 1


def test_search_goes_on_past_a_trial_that_failed(tmp_path, caplog):
    class Diverging(MadeUp):
        def run(self, trials, *, others):
            for number, outcome in enumerate(super().run(trials, others=others)):
                fails = len(self.rounds) == 1 and number == 1
                failure = Outcome(val_accuracy=0.0, curve=(), seconds=1.0, cpu_seconds=1.0, failed="loss is nan")
                yield failure if fails else outcome

    recipe = dataclasses.replace(RECIPE, learning_rate=0.1)
    tuner = RoundTuner(new_oracle("random", 5, hyperparameters(recipe), 3), recipe, seed=3, directory=tmp_path)
    with caplog.at_level("INFO", "progress"):
        tuner.search(Diverging(), side_by_side=2, minutes=None)
    assert [trial["failed"] for trial in tuner.table()] == ["", "loss is nan", "", "", ""]
    assert "trial 2 of 5: 0.00 % (failed: loss is nan), best " in caplog.text
    best = max(tuner.table(), key=lambda trial: trial["val_accuracy"])
    assert tuner.get_best_hyperparameters()[0].values == best["values"]


def test_objective_is_the_validation_accuracy_to_be_raised():
    oracle = new_oracle("random", 3, hyperparameters(RECIPE), seed=0)
    assert oracle.objective == keras_tuner.Objective(OBJECTIVE, "max")
    assert oracle.seed == 1


def test_search_of_which_every_trial_failed_hands_nothing_on():
    check([{"failed": "the training loss is nan"}, {"failed": ""}])
    with pytest.raises(InputError, match=r"^each of the 2 trials failed, the first because it burst\. Give other"):
        check([{"failed": "it burst"}, {"failed": "it burst"}])
