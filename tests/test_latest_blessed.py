"""Which blessed artifact a candidate is compared with, on artifacts made by hand."""

import pytest
from tfx.types import standard_artifacts

from components.baseline import LatestOtherBlessed


def model(number: int, uri: str = __file__) -> standard_artifacts.Model:
    """A model whose files are there: those of this test, unless said otherwise."""
    artifact = standard_artifacts.Model()
    artifact.id, artifact.uri = number, uri
    return artifact


def blessing(number: int, subject: int, blessed: int = 1, id_property: str = "current_model_id"):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property(id_property, subject)
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


def resolve(subjects, blessings, candidate, id_property: str = "current_model_id") -> tuple[list[int], list[int]]:
    """Returns the ids of the chosen subjects and blessings."""
    inputs = {"subject": subjects, "blessing": blessings, "candidate": candidate}
    found = LatestOtherBlessed(id_property).resolve_artifacts(None, inputs)
    assert found["candidate"] == candidate
    return [artifact.id for artifact in found["subject"]], [artifact.id for artifact in found["blessing"]]


def test_first_run_has_nothing_to_compare_with():
    assert resolve([model(1)], [], [model(1)]) == ([], [])
    assert LatestOtherBlessed("current_model_id").resolve_artifacts(None, {}) == {
        "subject": [],
        "blessing": [],
        "candidate": [],
    }


def test_blessed_candidate_is_not_compared_with_itself():
    assert resolve([model(1)], [blessing(2, 1)], [model(1)]) == ([], [])
    assert resolve([model(1), model(3)], [blessing(2, 1), blessing(4, 3)], [model(3)]) == ([1], [2])


def test_latest_blessing_wins_over_the_latest_model():
    models = [model(1), model(3), model(9)]
    assert resolve(models, [blessing(4, 1), blessing(5, 3)], [model(9)]) == ([3], [5])
    # Model 1 was blessed again after model 3.
    assert resolve(models, [blessing(6, 1), blessing(5, 3), blessing(4, 1)], [model(9)]) == ([1], [6])


@pytest.mark.parametrize("reverse", [False, True])
def test_order_of_the_artifacts_does_not_matter(reverse):
    models, blessings = [model(1), model(3), model(5)], [blessing(2, 1), blessing(4, 3)]
    if reverse:
        models, blessings = models[::-1], blessings[::-1]
    assert resolve(models, blessings, [model(5)]) == ([3], [4])


def test_model_that_was_not_blessed_is_ignored():
    models = [model(1), model(3), model(5)]
    assert resolve(models, [blessing(2, 1), blessing(4, 3, blessed=0)], [model(5)]) == ([1], [2])
    assert resolve(models, [blessing(4, 3, blessed=0)], [model(5)]) == ([], [])


def test_blessing_of_a_model_that_is_gone_is_ignored():
    assert resolve([model(1), model(5)], [blessing(2, 1), blessing(4, 3)], [model(5)]) == ([1], [2])


def test_property_that_names_the_subject_can_be_chosen():
    blessings = [blessing(2, 1, id_property="current_statistics_id")]
    assert resolve([model(1), model(5)], blessings, [model(5)], "current_statistics_id") == ([1], [2])
    assert resolve([model(1), model(5)], blessings, [model(5)]) == ([], [])


def test_model_deleted_from_disk_is_passed_over(tmp_path):
    models = [model(1), model(3, uri=str(tmp_path / "deleted")), model(9)]
    assert resolve(models, [blessing(4, 1), blessing(5, 3)], [model(9)]) == ([1], [4])
