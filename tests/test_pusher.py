"""What is published, over what, and what a later run is told of it; the folder itself is in test_serving_folder.py."""

import fcntl
import itertools
import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.orchestration.portable import data_types
from tfx.types import standard_artifacts

from components import places
from components.errors import InputError
from components.pusher.component import Driver, VersionedPusher
from components.pusher.history import versions
from components.pusher.serving_folder import check_replaces, publish, rollback

ANIMALS = {"image_shape": [28, 28], "class_names": ["ant", "bee"]}


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    """The folder that a model server watches; where it lies is known to executors alone."""
    monkeypatch.setattr(places, "_folders", {})
    places.tell(serving=tmp_path / "serving")
    return tmp_path / "serving" / "animals"


@pytest.fixture
def model(tmp_path):
    """Makes a Model artifact whose SavedModel holds a text and, unless it is None, a card."""

    def make(text: str, card: object = ANIMALS, number: int = 7) -> standard_artifacts.Model:
        artifact = standard_artifacts.Model()
        artifact.id, artifact.uri = number, str(tmp_path / "models" / text)
        saved = saved_model(artifact)
        (saved / "assets.extra").mkdir(parents=True, exist_ok=True)
        (saved / "saved_model.pb").write_text(text)
        if card is not None:
            (saved / "assets.extra" / "model.json").write_text(json.dumps(card))
        return artifact

    return make


def saved_model(artifact: types.Artifact) -> Path:
    return Path(artifact.uri, "Format-Serving")


def blessing(kind: type[types.Artifact], blessed: int) -> types.Artifact:
    artifact = kind()
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


@pytest.fixture
def push(base, tmp_path):
    """Runs the component as the pipeline declares it; returns the PushedModel."""

    def run(model: types.Artifact, *, blessed=(1, 1), keep: int = 3, replace: bool = False, **more) -> types.Artifact:
        component = VersionedPusher(
            model=types.Channel(type=standard_artifacts.Model),
            model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            name=base.name,
            keep=keep,
            replace_other_classes=replace,
            **more,
        )
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "artifacts" / str(len(list(tmp_path.glob("artifacts/*")))))
        Path(pushed.uri).mkdir(parents=True)
        inputs = {
            "model": [model],
            "model_blessing": [blessing(standard_artifacts.ModelBlessing, blessed[0])],
            "infra_blessing": [blessing(standard_artifacts.InfraBlessing, blessed[1])],
        }
        context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
        executor = component.executor_spec.executor_class(context)
        executor.Do(inputs, {"pushed_model": [pushed]}, component.exec_properties)
        return pushed

    return run


def test_blessed_model_is_published_and_its_artifact_leads_there(push, base, model):
    pushed = push(model("one"))
    ((version, _),) = versions(base).items()
    assert Path(pushed.uri).resolve() == (base / str(version)).resolve()
    assert (Path(pushed.uri) / "saved_model.pb").read_text() == "one"
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(base / str(version))
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_int_custom_property("model_id") == 7


def test_artifact_still_leads_there_when_the_output_root_is_moved(push, model, tmp_path):
    """Then a cached push stays one; a link to an absolute path would dangle."""
    pushed = Path(push(model("one")).uri)
    (tmp_path / "root").mkdir()
    for name in ("serving", "artifacts"):
        (tmp_path / name).rename(tmp_path / "root" / name)
    moved = tmp_path / "root" / pushed.relative_to(tmp_path)
    assert not moved.readlink().is_absolute()
    assert (moved / "saved_model.pb").read_text() == "one"


def test_artifact_leads_nowhere_once_its_version_was_removed(push, model):
    """TFX's cache passes over what is gone, and the model is pushed again."""
    first = push(model("one"), keep=1)
    push(model("two"), keep=1)
    assert not Path(first.uri).exists()


@pytest.mark.parametrize("blessed", [(0, 1), (1, 0)], ids=["Evaluator", "InfraValidator"])
def test_model_that_one_of_both_refused_is_not_pushed(push, base, model, blessed):
    pushed = push(model("one"), blessed=blessed)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not base.exists()


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({**ANIMALS, "class_names": ["ant", "cat"]}, "the classes ant, bee; this model about ant, cat."),
        ({**ANIMALS, "class_names": ["bee", "ant"]}, "the classes ant, bee; this model about bee, ant."),
        ({**ANIMALS, "class_names": ["ant", "bee", "cat"]}, "the classes ant, bee; this model about ant, bee, cat."),
        ({**ANIMALS, "image_shape": [32, 32]}, "images of shape 28, 28; this model about 32, 32."),
        ({**ANIMALS, "image_shape": [28, 28, 3]}, "images of shape 28, 28; this model about 28, 28, 3."),
    ],
    ids=["another class", "another order", "more classes", "another shape", "channels"],
)
def test_model_about_something_else_is_not_published_over_the_one_that_is_served(push, base, model, card, told):
    push(model("one"))
    before = versions(base)
    with pytest.raises(InputError) as raised:
        push(model("two", card))
    (version,) = before
    message = str(raised.value)
    assert message.startswith(f"{base}: version {version}, which is served there, answers about {told}")
    assert message.endswith("with --name, or publish over it with --set replace_other_classes=true.")
    assert "\n" not in message
    assert raised.value.exit_status == 2
    assert versions(base) == before


def test_model_about_something_else_is_published_where_that_was_asked_for(push, base, model):
    push(model("one"))
    push(model("two", {**ANIMALS, "class_names": ["cat", "dog"]}), replace=True)
    assert len(versions(base)) == 2


def test_what_is_compared_with_is_what_is_served_and_not_the_last_push(push, base, model):
    push(model("one"))
    push(model("two", {**ANIMALS, "class_names": ["cat", "dog"]}), replace=True)
    rollback(base)
    check_replaces(ANIMALS, base)
    with pytest.raises(InputError, match="about the classes ant, bee; this model about cat, dog"):
        check_replaces({**ANIMALS, "class_names": ["cat", "dog"]}, base)


def test_model_about_the_same_passes(base, model):
    check_replaces(ANIMALS, base)
    publish(saved_model(model("one")), base, keep=3)
    check_replaces({**ANIMALS, "class_names": tuple(ANIMALS["class_names"])}, base)
    check_replaces({**ANIMALS, "accuracy": 0.5}, base)


@pytest.mark.parametrize("card", [None, [], {"class_names": ["ant", "cat"]}], ids=["none", "a list", "a part"])
def test_model_whose_card_is_unknown_passes_and_is_no_obstacle(push, base, model, card):
    push(model("one"))
    push(model("unknown", card))
    assert len(versions(base)) == 2
    check_replaces({**ANIMALS, "class_names": ["cat", "dog"]}, base)


@pytest.fixture
def export(model):
    """Makes the Model artifact of an export: the same content, in other files each time."""
    made = itertools.count()

    def make(content: str) -> types.Artifact:
        return model(f"{content} {next(made)}", {**ANIMALS, "digest": content})

    return make


def outcome(pushed: types.Artifact) -> str:
    return pushed.get_string_custom_property("outcome")


def test_the_same_weights_exported_again_are_not_pushed_again(push, base, export):
    first = push(export("one"))
    again = push(export("one"))
    ((version, _),) = versions(base).items()
    assert [outcome(first), outcome(again)] == ["pushed", "served already"]
    assert again.get_int_custom_property("pushed") == 1
    assert again.get_string_custom_property("pushed_version") == str(version)
    assert Path(again.uri).resolve() == (base / str(version)).resolve()


def test_retention_and_rollback_count_different_models_also_where_one_fills_the_folder(push, base, export, tmp_path):
    push(export("one"), keep=2)
    push(export("two"), keep=2)
    # As an older version of this project left it: five versions of one model.
    two = max(versions(base))
    for number in range(1, 5):
        shutil.copytree(base / str(two), base / str(two + number))
    push(export("two"), keep=2)
    assert len(versions(base)) == 6, "two models, and both are kept"
    rollback(base)
    assert (base / "served" / "saved_model.pb").read_text() == "one 0"


def test_what_a_rollback_took_back_is_not_pushed_by_a_later_evaluation_but_by_a_person(push, base, export):
    push(export("one"))
    push(export("two"))
    rollback(base)
    before = versions(base)
    pushed = push(export("two"))
    assert (outcome(pushed), pushed.get_int_custom_property("pushed")) == ("taken back", 0)
    assert versions(base) == before
    publish(saved_model(export("two")), base, keep=3)
    assert (base / "served" / "saved_model.pb").read_text() == "two 1", "a link to the version that is there"
    assert outcome(push(export("two"))) == "served already"


def test_another_push_since_does_not_bring_back_what_was_taken_back(push, base, export):
    push(export("one"))
    push(export("two"))
    rollback(base)
    push(export("three"))
    assert outcome(push(export("two"))) == "taken back"
    assert outcome(push(export("one"))) == "served again", "superseded by a push alone"


def test_blessed_model_can_be_held_back(push, base, model):
    pushed = push(model("one"), push=False)
    assert (outcome(pushed), pushed.get_int_custom_property("pushed")) == ("held back", 0)
    assert not base.exists()
    assert outcome(push(model("one"), push=False, blessed=(0, 1))) == "not blessed"


def test_holding_a_model_back_is_in_the_cache_key_of_the_pusher_alone():
    from pipeline.config import PipelineConfig
    from pipeline.pipeline import create_pipeline
    from pipeline.run.partial_run import ANY_DATA

    pushing, holding = (
        {
            node.id: dict(node.exec_properties)
            for node in create_pipeline(PipelineConfig(push=push), ANY_DATA).components
        }
        for push in (True, False)
    )
    assert {node for node in pushing if pushing[node] != holding[node]} == {"Pusher"}
    assert pushing["Pusher"] | {"push": 0} == holding["Pusher"]


def test_what_a_model_may_replace_is_decided_by_what_is_served_when_its_turn_comes(push, base, model):
    """Between a look and the push another writer may publish something else."""
    push(model("one"))
    (one,) = versions(base)
    found = []

    def attempt():
        try:
            push(model("two"))
        except InputError as error:
            found.append(str(error))

    waiting = threading.Thread(target=attempt)
    with (base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting.start()
        time.sleep(0.2)
        other = saved_model(model("other", {**ANIMALS, "class_names": ["cat", "dog"]}))
        shutil.copytree(other, base / str(one + 1))
    waiting.join(10)
    assert [line.partition(", which")[0] for line in found] == [f"{base}: version {one + 1}"]
    assert list(versions(base)) == [one, one + 1]


def superseded_by(artifact: types.Artifact, base: Path) -> int:
    """Returns what the driver puts into the cache key of a push of that model."""
    info = data_types.ExecutionInfo(input_dict={"model": [artifact]}, exec_properties={"name": base.name})
    output = Driver(None).run(info)
    assert set(output.exec_properties) == {"superseded_by"}
    assert not output.output_artifacts
    return output.exec_properties["superseded_by"].int_value


def test_what_tells_of_later_pushes_writes_nothing(push, base, model):
    """A dry run asks it, of a folder that may be another's."""
    push(model("one"))
    (base / ".lock").unlink()
    before = sorted(base.iterdir())
    assert superseded_by(model("one"), base) == 0
    assert sorted(base.iterdir()) == before


def test_cache_key_of_a_push_tells_which_later_push_superseded_it(push, base, model):
    assert superseded_by(model("one"), base) == 0
    push(model("one"))
    assert superseded_by(model("one"), base) == 0
    push(model("two"))
    assert superseded_by(model("one"), base) == max(versions(base))
    assert superseded_by(model("two"), base) == 0
    push(model("one"))
    assert superseded_by(model("one"), base) == 0
    assert superseded_by(model("two"), base) == max(versions(base))


def test_cache_key_of_a_push_that_was_taken_back_stays_as_it_was(push, base, model):
    push(model("one"))
    push(model("two"))
    rollback(base)
    assert superseded_by(model("two"), base) == 0


def test_driver_is_one_that_both_the_component_and_the_launcher_accept():
    assert VersionedPusher.DRIVER_CLASS is Driver
    from tfx.dsl.components.base import base_driver as declared
    from tfx.orchestration.portable import base_driver as launched

    assert issubclass(Driver, declared.BaseDriver)
    assert issubclass(Driver, launched.BaseDriver)


def test_data_in_spans_may_bring_a_class_behind_the_others(base, model):
    publish(saved_model(model("one")), base, keep=3)
    grown = {**ANIMALS, "class_names": [*ANIMALS["class_names"], "dog"]}
    check_replaces(grown, base, may_grow=True)
    with pytest.raises(InputError, match="this model about"):
        check_replaces(grown, base)
    with pytest.raises(InputError, match="this model about dog"):
        check_replaces({**grown, "class_names": grown["class_names"][::-1]}, base, may_grow=True)
