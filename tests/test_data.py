"""Where the data are looked for, in which order, and under which name they are known."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from components.example_gen.dataset import Dataset, inspect_dataset
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot
from pipeline.presets import preset
from pipeline.run.data import (
    candidates,
    check_classes,
    choose_name,
    describe_data,
    describe_plan,
    find_dataset,
    floors_in_force,
    locate_data,
    model_name,
    recall_dataset,
)


@pytest.fixture
def folders(idx_folder) -> tuple[Path, ...]:
    """Three folders, each with all four files."""
    files = np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.uint8), np.zeros((1, 3, 3), np.uint8), np.zeros(1, np.uint8)
    return tuple(idx_folder(*files, name=name) for name in ("project", "system", "keras"))


def test_project_goes_before_the_system_and_that_before_kerass_cache(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert candidates(Path("/project"), Path("/home/me")) == (
        Path("/project/data"),
        Path("/usr/share/datasets/fashion-mnist"),
        Path("/home/me/.keras/datasets/fashion-mnist"),
    )


def test_kerass_cache_is_where_keras_home_says_and_nowhere_without_a_home(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/elsewhere")
    assert candidates(Path("/project"), Path("/home/me"))[-1] == Path("/elsewhere/datasets/fashion-mnist")
    assert len(candidates(Path("/project"), None)) == 3
    monkeypatch.delenv("KERAS_HOME")
    assert len(candidates(Path("/project"), None)) == 2


def test_first_folder_with_all_four_files_is_taken(folders):
    assert locate_data(None, folders) == folders[0]
    (folders[0] / "train-labels-idx1-ubyte").unlink()
    assert locate_data(None, folders) == folders[1]
    for part in ("train", "t10k"):
        (folders[1] / f"{part}-images-idx3-ubyte").unlink()
    assert locate_data(None, folders) == folders[2]


def test_folder_with_half_of_a_part_is_told_and_no_other_taken_in_its_place(folders):
    (folders[0] / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte: expected the images of test beside it, found none"):
        locate_data(None, folders)


def test_folder_of_others_that_nobody_named_is_passed_over(folders, monkeypatch):
    """As that of root is for whom a container runs as. Patched, because root may read everything."""
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folders[0] and may(path, mode))
    (folders[0] / "train-images-idx3-ubyte").write_bytes(b"not to be read")
    assert locate_data(None, folders) == folders[1]


def test_named_folder_goes_before_all_others(folders):
    assert locate_data(folders[2], folders[:2]) == folders[2]


def test_named_folder_without_data_is_not_replaced_by_another(folders, tmp_path):
    assert locate_data(tmp_path / "named", folders) == tmp_path / "named"
    with pytest.raises(InputError) as raised:
        find_dataset(PipelineConfig(data_dir=tmp_path / "named"), tmp_path, OutputRoot(tmp_path / "output"))
    assert f"{tmp_path / 'named'}: expected a data set, found no such file or folder" in str(raised.value)


def test_every_folder_looked_in_is_told(tmp_path):
    looked = (tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match=r"Run 'make data', or set --data-dir") as raised:
        locate_data(None, looked)
    assert f"{looked[0]}, {looked[1]}" in str(raised.value)


def arrays(value: int) -> tuple[np.ndarray, ...]:
    """Returns a small data set that differs with `value` in one pixel."""
    images, labels = np.zeros((4, 3, 3), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    images[0, 0, 0] = value
    return images, labels, images, labels


@pytest.fixture
def dataset(idx_folder):
    """Writes and inspects a data set that differs with `value`."""

    def write(value: int, folder: str, ending: str = "") -> Dataset:
        return inspect_dataset(idx_folder(*arrays(value), name=folder, ending=ending))

    return write


def named(datasets: list[Dataset]) -> list[str]:
    """Returns the names of data sets that one output root sees one after the other."""
    seen: list[dict] = []
    for dataset in datasets:
        name = choose_name(dataset, seen)
        seen.append({**describe_data(dataset), "name": name})
    return [run["name"] for run in seen]


def test_first_data_set_is_named_after_its_folder(dataset):
    assert named([dataset(1, "raw")]) == ["raw"]


def test_same_content_by_another_path_keeps_its_name(dataset):
    assert named([dataset(1, "raw"), dataset(1, "moved"), dataset(1, "zipped", ".gz")]) == ["raw"] * 3


def test_same_content_by_a_link_keeps_its_name(dataset, tmp_path):
    first = dataset(1, "raw")
    (tmp_path / "link").symlink_to(first.folder)
    assert named([first, inspect_dataset(tmp_path / "link")]) == ["raw", "raw"]


def test_new_content_in_the_same_folder_keeps_its_name(dataset):
    assert named([dataset(1, "raw"), dataset(2, "raw"), dataset(3, "raw")]) == ["raw"] * 3


def test_content_that_moved_and_then_changed_keeps_its_name(dataset):
    assert named([dataset(1, "raw"), dataset(1, "moved"), dataset(2, "moved")]) == ["raw"] * 3


def test_two_data_sets_whose_folders_have_the_same_name_get_two_names(dataset):
    first, second, third = dataset(1, "a/raw"), dataset(2, "b/raw"), dataset(3, "c/raw")
    assert first.folder != second.folder
    assert named([first, second, third, second, first]) == ["raw", "raw_2", "raw_3", "raw_2", "raw"]


def test_content_goes_before_the_folder(dataset):
    """The two data sets changed places: each is known by what it is."""
    before = [dataset(1, "a/raw"), dataset(2, "b/raw")]
    after = [dataset(2, "a/raw"), dataset(1, "b/raw")]
    assert named([*before, *after]) == ["raw", "raw_2", "raw_2", "raw"]


def test_span_that_is_run_by_itself_does_not_get_the_name_of_the_spans(dataset):
    """Its model would be served in the place of that of the window, and be compared with nothing."""
    day, other = dataset(1, "incoming/span-3"), dataset(2, "incoming/span-4")
    seen = [{**describe_data(found), "name": "incoming", "span": {"number": 3}} for found in (day, other)]
    assert choose_name(day, seen) == "span_3"
    # Nor is a name free that spans have, nor theirs what a run by itself has made its own before.
    assert choose_name(day, [*seen, {**seen[0], "name": "span_3"}]) == "span_3_2"
    assert choose_name(day, [*seen, {**describe_data(day), "name": "incoming"}]) == "span_3"


def test_name_that_was_given_once_holds_until_another_is_given(dataset):
    seen = [{**describe_data(dataset(1, "raw")), "name": name} for name in ("first", "second")]
    assert choose_name(dataset(1, "moved"), seen) == "second"
    assert choose_name(dataset(2, "raw"), seen) == "second"
    assert choose_name(dataset(3, "other/raw"), seen) == "raw"


def test_fashion_mnist_is_fashion_mnist_wherever_it_lies(dataset, fashion_mnist, tmp_path):
    (tmp_path / "raw").symlink_to(fashion_mnist)
    real = inspect_dataset(tmp_path / "raw")
    assert named([real]) == ["fashion_mnist"]
    assert choose_name(real, [{**describe_data(real), "name": "mine"}]) == "fashion_mnist"


def test_data_that_are_no_fashion_mnist_do_not_get_its_name(dataset, fashion_mnist):
    """Under one name they would be compared with it, and served in its place."""
    real, other = inspect_dataset(fashion_mnist), dataset(1, "fashion_mnist")
    assert named([real, other]) == ["fashion_mnist", "fashion_mnist_2"]
    assert named([other, real]) == ["fashion_mnist_2", "fashion_mnist"]


def test_data_that_took_the_place_of_fashion_mnist_do_not_get_its_name(dataset, fashion_mnist):
    real = {**describe_data(inspect_dataset(fashion_mnist)), "name": "fashion_mnist"}
    other = dataset(1, "data")
    assert choose_name(other, [{**real, "folder": str(other.folder)}]) != "fashion_mnist"


def test_name_that_is_asked_for_goes_before_all(dataset, tmp_path, monkeypatch):
    found = dataset(1, "raw")
    config = PipelineConfig(data_dir=found.folder, name="mine")
    assert find_dataset(config, tmp_path, OutputRoot(tmp_path / "output")).name == "mine"


def test_without_a_database_the_folder_names_the_data_and_nothing_is_made(dataset, tmp_path):
    found = dataset(1, "raw")
    root = OutputRoot(tmp_path / "output")
    assert find_dataset(PipelineConfig(data_dir=found.folder), tmp_path, root) == found
    assert not root.path.exists()


def test_data_set_comes_back_from_what_a_record_keeps_of_it_without_its_files(dataset):
    found = dataset(1, "raw")
    recalled = recall_dataset(json.loads(json.dumps(describe_data(found))))
    assert recalled.contents is None
    assert recalled == found
    assert isinstance(recalled.folder, Path)


def test_schema_beside_recalled_data_is_read_anew_and_a_kept_one_holds_where_it_is_gone(dataset):
    found = dataset(1, "raw")
    kept = {**describe_data(found), "schema": "kept"}
    assert recall_dataset(kept).schema == "kept"
    (found.folder / "schema.pbtxt").write_text("feature { name: 'edited' }")
    assert "edited" in recall_dataset(kept).schema


def test_floors_of_a_data_set_are_its_owners_by_preset_below_what_a_person_gives(dataset, tmp_path):
    found = dataset(1, "raw")
    assert floors_in_force(PipelineConfig(), found) == {}
    (found.folder / "floors.toml").write_text("[default]\naccuracy = 0.3\nloss = 2\n[smoke]\naccuracy = 0.1\n")
    root = OutputRoot(tmp_path / "output")
    for config, floors in (
        (preset("fast"), {"accuracy": 0.3, "loss": 2}),
        (preset("smoke"), {"accuracy": 0.1, "loss": 2}),
        (preset("smoke", floors={"accuracy": 0.9}), {"accuracy": 0.9, "loss": 2}),
    ):
        owned = find_dataset(dataclasses.replace(config, data_dir=found.folder), tmp_path, root)
        assert floors_in_force(config, owned) == floors


def test_floors_of_fashion_mnist_are_of_no_other_data(dataset):
    fashion = dataclasses.replace(dataset(1, "raw"), is_fashion_mnist=True)
    expected = {"smoke": (0.6, 0.0), "fast": (0.9092, 0.5), "best": (0.94, 0.5)}
    for name, floors in expected.items():
        assert tuple(floors_in_force(preset(name), fashion).values()) == floors


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("accuracy = 0.5", "expected tables such as [default], found accuracy outside of one"),
        ("[default]\nacuracy = 0.5", "[default]: floors.acuracy: expected a metric"),
        ("[default]\naccuracy = 2", "[default]: floors.accuracy: expected 0 to 1, found 2"),
        ("[default", "expected TOML, found"),
        ("[fasst]\naccuracy = 0.5", "expected tables default, smoke, fast, best, found fasst"),
    ],
)
def test_floors_that_are_none_are_refused_with_their_file(dataset, tmp_path, text, told):
    folder = dataset(1, "raw").folder
    (folder / "floors.toml").write_text(text)
    with pytest.raises(InputError) as raised:
        find_dataset(PipelineConfig(data_dir=folder), tmp_path, OutputRoot(tmp_path / "output"))
    assert str(raised.value).startswith(str(folder / "floors.toml"))
    assert told in str(raised.value)


def test_floor_of_a_class_that_the_data_lack_is_refused_with_those_that_they_have(dataset):
    config = PipelineConfig(floors={"accuracy@class=Bag": 0.5})
    with pytest.raises(
        InputError, match=r"^floors\.accuracy@class=Bag: expected a class of the data \(0, 1\), found 'Bag'\. Rename it"
    ):
        check_classes(config, dataset(1, "raw"))
    assert floors_in_force(config, dataset(1, "raw")) == config.floors


def test_floor_of_an_unknown_class_beside_the_data_names_the_file(dataset):
    owned = dataclasses.replace(dataset(1, "raw"), floors={"default": {"accuracy@class=Bag": 0.5}})
    with pytest.raises(InputError, match=r"raw/floors\.toml: floors\.accuracy@class=Bag: expected a class of the data"):
        check_classes(PipelineConfig(), owned)


def test_few_images_are_told_with_what_they_say_of_a_model(dataset):
    told, few = describe_plan(PipelineConfig(), dataset(1, "raw"))
    assert told == "IDX: 4 train and 4 test images of 3x3, 2 classes"
    assert few.startswith("few images: train 3, val 1, test 4; ")
    # Of 4 answers of which 3.6 are right, Wilson's interval.
    assert few.endswith("all that is known is 42 to 99 %")


def test_damaged_files_of_the_projects_own_are_to_be_fetched_again_and_no_others(idx_folder, tmp_path):
    folder = idx_folder(*arrays(1), name="project/data")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    root = OutputRoot(tmp_path / "output")
    with pytest.raises(InputError, match="delete them and run 'make data'"):
        find_dataset(PipelineConfig(), tmp_path / "project", root)
    with pytest.raises(InputError) as raised:
        find_dataset(PipelineConfig(data_dir=folder), tmp_path / "project", root)
    assert "make data" not in str(raised.value)


@pytest.fixture
def kept_runs(tmp_path):
    """Makes a database of ML Metadata whose runs keep the data given, or nothing; returns its output root."""

    def make(*kept: dict | None) -> OutputRoot:
        from ml_metadata import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as mlmd

        root = OutputRoot(tmp_path / "output")
        root.path.mkdir()
        connection = mlmd.ConnectionConfig()
        connection.sqlite.filename_uri = str(root.metadata)
        connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        store = metadata_store.MetadataStore(connection)
        kind = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
        for number, data in enumerate(kept):
            run = mlmd.Context(type_id=kind, name=f"run-{number}")
            if data is not None:
                run.custom_properties["data"].string_value = json.dumps(data)
            store.put_contexts([run])
        return root

    return make


def test_data_are_known_by_what_the_output_root_has_seen(dataset, kept_runs, tmp_path):
    first, second = dataset(1, "a/raw"), dataset(2, "b/raw")
    root = kept_runs({**describe_data(first), "name": "mine"}, {**describe_data(second), "name": "raw"})
    for found, name in ((first, "mine"), (second, "raw"), (dataset(3, "c/raw"), "raw_2")):
        assert find_dataset(PipelineConfig(data_dir=found.folder), tmp_path, root).name == name


def test_run_that_kept_nothing_is_passed_over(dataset, kept_runs, tmp_path):
    """Another runner of TFX's made it, or it was killed before its record was written."""
    found = dataset(1, "raw")
    root = kept_runs({**describe_data(found), "name": "mine"}, None)
    assert find_dataset(PipelineConfig(data_dir=found.folder), tmp_path, root).name == "mine"


def test_models_are_served_by_the_name_of_the_data_and_the_variant_with_a_dot_between_that_neither_holds(dataset):
    found = dataclasses.replace(dataset(1, "raw"), name="fashion_mnist")
    assert model_name(PipelineConfig(), found) == "fashion_mnist"
    assert model_name(preset("smoke"), found) == "fashion_mnist.smoke"
    for setting in ("name", "variant"):
        with pytest.raises(InputError, match=f"{setting}: expected letters, digits, _ and - only, found 'a.b'"):
            PipelineConfig(**{setting: "a.b"})
