"""Which blessed artifact a candidate is compared with, on artifacts made by hand."""

import pytest
from tfx.types import standard_artifacts

from components.latest_blessed import LatestOtherBlessed


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


def push(number: int, shown: int, pushed: int = 1, version: str = "") -> standard_artifacts.PushedModel:
    """What the Pusher, or a rollback, leaves of the model `shown`."""
    artifact = standard_artifacts.PushedModel()
    artifact.id = number
    artifact.set_int_custom_property("pushed", pushed)
    if pushed:
        artifact.set_int_custom_property("model_id", shown)
        artifact.set_string_custom_property("pushed_version", version)
    return artifact


def resolve(
    subjects, blessings, candidate, id_property: str = "current_model_id", pushed: list | None = None
) -> tuple[list[int], list[int]]:
    """Returns the ids of the chosen subjects and blessings."""
    inputs = {"subject": subjects, "blessing": blessings, "candidate": candidate}
    if pushed is not None:
        inputs["pushed"] = pushed
    found = LatestOtherBlessed(id_property).resolve_artifacts(None, inputs)
    assert found["candidate"] == candidate
    # Only looked at: as an input of the resolved execution it would be part of the Evaluator's.
    assert found.get("pushed") == (None if pushed is None else [])
    assert found.keys() == inputs.keys()
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


THREE = [model(1), model(3), model(5)]
ALL_BLESSED = [blessing(2, 1), blessing(4, 3), blessing(6, 5)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("pushes", "chosen"),
    [
        ([push(10, 1)], ([1], [2])),
        ([push(10, 1), push(11, 3)], ([3], [4])),
        ([push(10, 1), push(11, 3), push(12, 1)], ([1], [2])),
        ([push(10, 1), push(11, 5), push(12, 3, pushed=0)], ([5], [6])),
        ([], ([5], [6])),
        ([push(12, 3, pushed=0)], ([5], [6])),
    ],
    ids=["older", "last push", "taken back", "one not pushed", "no push", "none was pushed"],
)
def test_what_is_served_comes_before_what_was_blessed_last(pushes, chosen, reverse):
    candidate = [model(9)]
    order = pushes[::-1] if reverse else pushes
    assert resolve([*THREE, *candidate], ALL_BLESSED, candidate, pushed=order) == chosen


def test_model_that_a_rollback_took_back_is_no_baseline_where_another_is_served():
    """Model 5 was published last and taken back: the rollback's own PushedModel shows model 3."""
    assert resolve([*THREE, model(9)], ALL_BLESSED, [model(9)], pushed=[push(10, 5), push(11, 3)]) == ([3], [4])


def test_rollback_that_is_recorded_behind_the_push_that_followed_on_it_takes_nothing_from_that():
    """During a run it cannot be: the run itself pushed model 5 as version 11, and the next one recorded version 9."""
    pushes = [push(19, 1, version="8"), push(20, 5, version="11"), push(21, 1, version="9"), push(22, 3, pushed=0)]
    assert resolve([*THREE, model(9)], ALL_BLESSED, [model(9)], pushed=pushes) == ([5], [6])
    assert resolve(THREE, ALL_BLESSED, [model(5)], pushed=pushes) == ([3], [4])


def test_candidate_that_is_served_itself_is_compared_with_what_was_blessed_before_it():
    """A rollback to 3 took 5 back, which must not judge it: run again, it has the baseline that it had at first."""
    assert resolve(THREE, ALL_BLESSED, [model(3)], pushed=[push(10, 1), push(11, 3)]) == ([1], [2])
    assert resolve(THREE, ALL_BLESSED, [model(1)], pushed=[push(10, 5), push(11, 1)]) == ([], [])
    again = [*ALL_BLESSED, blessing(7, 3)]
    assert resolve(THREE, again, [model(3)], pushed=[push(11, 3)]) == ([5], [6])
    assert resolve([model(3)], [blessing(4, 3)], [model(3)], pushed=[push(11, 3)]) == ([], [])


def test_served_model_that_is_gone_or_was_not_blessed_gives_way_to_the_latest_blessed(tmp_path):
    gone = [model(1, uri=str(tmp_path / "deleted")), model(3), model(5), model(9)]
    assert resolve(gone, ALL_BLESSED, [model(9)], pushed=[push(10, 1)]) == ([5], [6])
    refused = [blessing(2, 1, blessed=0), *ALL_BLESSED[1:]]
    assert resolve([*THREE, model(9)], refused, [model(9)], pushed=[push(10, 1)]) == ([5], [6])


def test_served_model_comes_with_the_last_of_its_own_blessings():
    blessings = [*ALL_BLESSED, blessing(7, 1), blessing(8, 3)]
    assert resolve([*THREE, model(9)], blessings, [model(9)], pushed=[push(10, 1)]) == ([1], [7])
