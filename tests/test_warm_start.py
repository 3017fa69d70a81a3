"""What a warm start begins with."""

import pytest
from tfx.types import standard_artifacts

from components.properties import EXAMPLES_ID, TRAINED_ID
from components.trainer.warm_start import LatestServedTraining
from tests.test_span_window import numbered


@pytest.fixture
def chosen(tmp_path):
    """Asks the resolver about trainings 1 and 2, exported as 11 and 12 of the examples 31 and 32, pushed in turn."""
    models = [
        numbered(standard_artifacts.Model, 1, tmp_path),
        numbered(standard_artifacts.Model, 11, tmp_path, **{TRAINED_ID: 1, EXAMPLES_ID: 31}),
        numbered(standard_artifacts.Model, 2, tmp_path),
        numbered(standard_artifacts.Model, 12, tmp_path, **{TRAINED_ID: 2, EXAMPLES_ID: 32}),
    ]

    def ask(pushed, candidate):
        acts = [
            numbered(standard_artifacts.PushedModel, 100 + number, "", model_id=model, pushed=is_pushed, **version)
            for number, (model, is_pushed, version) in enumerate((*told, {})[:3] for told in pushed)
        ]
        examples = [numbered(standard_artifacts.Examples, candidate, "")]
        found = LatestServedTraining().resolve_artifacts(None, {"model": models, "pushed": acts, "candidate": examples})
        return [artifact.id for artifact in found["model"]]

    return ask


def test_the_training_of_the_served_model_is_chosen(chosen):
    assert chosen([(11, 1), (12, 1)], candidate=33) == [2]
    # After a rollback the first is served again.
    assert chosen([(11, 1), (12, 1), (11, 1)], candidate=33) == [1]
    # That was recorded behind the push that followed on it.
    versions = [{"pushed_version": text} for text in ("8", "11", "9")]
    assert chosen(list(zip((11, 12, 11), (1, 1, 1), versions, strict=True)), candidate=33) == [2]


def test_a_push_that_published_nothing_does_not_count(chosen):
    assert chosen([(11, 1), (12, 0)], candidate=33) == [1]
    assert chosen([(12, 0)], candidate=33) == []
    assert chosen([], candidate=33) == []


def test_a_model_of_the_same_examples_is_passed_over_so_that_a_rerun_begins_as_before(chosen):
    assert chosen([(11, 1), (12, 1)], candidate=32) == [1]


def test_a_model_that_was_taken_back_is_no_beginning_for_the_examples_of_the_one_that_is_served(chosen):
    assert chosen([(11, 1), (12, 1), (11, 1)], candidate=31) == []
    # It was published again since.
    assert chosen([(11, 1), (12, 1), (11, 1), (12, 1)], candidate=31) == [2]


def test_what_is_gone_from_the_disk_is_no_beginning(chosen, tmp_path):
    tmp_path.rmdir()
    assert chosen([(11, 1), (12, 1)], candidate=33) == []
