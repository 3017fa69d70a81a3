"""Batch inference from the command line: three forms of one result."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from components.errors import InputError
from components.pusher.history import versions
from components.pusher.serving_folder import publish
from models.card import CARD_FILE
from pipeline.predict import main, predict_folder
from tests.forms import FORMS, encoded, without
from tests.served_models import NAMES, banded_images, export_banded_model, write_split

CLASSES = np.array([0, 1, 2, 2])


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_split(tmp_path_factory.mktemp("split"), banded_images(CLASSES), CLASSES)


@pytest.fixture(scope="module")
def served(shards, tmp_path_factory):
    """A serving folder whose newest version is good and whose older one is not."""
    base = tmp_path_factory.mktemp("serving")
    for bias in (1000.0, 0.0):
        publish(export_banded_model(tmp_path_factory.mktemp("model"), shards, bias=bias), base, keep=5)
    return base


@pytest.fixture
def ask(served, shards, tmp_path):
    def run(name: str, source=None, *flags: str):
        status = main([str(source or shards[0].parent), str(tmp_path / name), "--model", str(served), *flags])
        return status, tmp_path / name

    return run


def test_csv_has_a_row_a_record_from_the_newest_version(ask, capsys):
    status, path = ask("predictions.csv")
    assert status == 0
    told = capsys.readouterr()
    assert told.out == f"4 answers in {path}\n"
    assert told.err == ""
    rows = list(csv.DictReader(path.open()))
    assert [row["class_name"] for row in rows] == [NAMES[index] for index in CLASSES]
    assert [int(row["label"]) for row in rows] == CLASSES.tolist()
    probabilities = np.array([[float(value) for value in row["probabilities"].split()] for row in rows])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [path.name for path in path.parent.iterdir()] == ["predictions.csv"]


def test_parquet_and_tfrecord_hold_the_same(ask):
    table = pq.read_table(ask("predictions.parquet")[1]).to_pylist()
    records = tf.data.TFRecordDataset(str(ask("predictions.tfrecord")[1])).as_numpy_iterator()
    for row, record in zip(table, records, strict=True):
        features = tf.train.Example.FromString(record).features.feature
        assert features["prediction"].int64_list.value[:] == [row["prediction"]]
        assert features["class_name"].bytes_list.value[:] == [row["class_name"].encode()]
        np.testing.assert_allclose(features["probabilities"].float_list.value, row["probabilities"], rtol=1e-6)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with one picture of each class."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(banded_images(np.arange(3))):
        (folder / f"{number}.png").write_bytes(encoded(image))
    return folder


def rows_of(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_pictures_have_no_label_in_any_form(ask, pictures):
    rows = rows_of(ask("predictions.csv", pictures)[1])
    assert [(row["label"], row["class_name"]) for row in rows] == [("", name) for name in NAMES[:3]]
    records = tf.data.TFRecordDataset(str(ask("predictions.tfrecord", pictures)[1])).as_numpy_iterator()
    assert all("label" not in tf.train.Example.FromString(record).features.feature for record in records)


@pytest.mark.parametrize("form", [name for name in FORMS if name != "CSV"])
def test_every_kind_of_input_is_answered_with_the_labels_that_it_has(ask, tmp_path, form):
    """CSV says no shape, and these images are not square."""
    folder = tmp_path / "input"
    folder.mkdir()
    FORMS[form](folder, {"train": (banded_images(CLASSES), CLASSES), "test": (banded_images(CLASSES[:2]), CLASSES[:2])})
    status, path = ask("predictions.csv", folder)
    assert status == 0
    rows = rows_of(path)
    expected = [*CLASSES, *CLASSES[:2]]
    if form == "class folders":  # all pictures of a class, then those of the next
        rows = sorted(rows, key=lambda row: ("/test/" in row["source"], int(Path(row["source"]).stem)))
    assert [int(row["prediction"]) for row in rows] == expected
    assert [int(row["label"]) for row in rows] == expected


def test_labels_are_numbered_as_for_training(served, tmp_path):
    """The data had the labels 1, 2 and 3, so that 1 is the first class."""
    version = max((path for path in served.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    model = tmp_path / "model"
    shutil.copytree(version, model)
    card = json.loads((model / CARD_FILE).read_text())
    (model / CARD_FILE).write_text(json.dumps({**card, "class_values": [1, 2, 3]}))
    np.savez(tmp_path / "some.npz", x_test=banded_images(CLASSES), y_test=CLASSES + 1)
    assert main([str(tmp_path / "some.npz"), str(tmp_path / "a.csv"), "--model", str(model)]) == 0
    assert [int(row["label"]) for row in rows_of(tmp_path / "a.csv")] == CLASSES.tolist()


def test_arrays_beside_pictures_are_no_images(ask, pictures):
    np.save(pictures / "embeddings.npy", np.zeros((3, 128), np.float32))
    assert len(rows_of(ask("predictions.csv", pictures)[1])) == 3


def test_arrays_without_labels_or_names_are_images(ask, tmp_path):
    np.save(tmp_path / "anything.npy", banded_images(CLASSES))
    rows = rows_of(ask("predictions.csv", tmp_path / "anything.npy")[1])
    assert [(int(row["prediction"]), row["label"]) for row in rows] == [(number, "") for number in CLASSES]


def test_empty_shards_and_odd_names_are_survived(ask, tmp_path):
    folder = tmp_path / "odd [1] *"
    folder.mkdir()
    (folder / "data_tfrecord-00000-of-00001").write_bytes(b"")
    assert rows_of(ask("predictions.csv", folder)[1]) == []
    (folder / "data_tfrecord-00000-of-00001").unlink()
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (folder / name).write_bytes(encoded(banded_images(np.array([2]))[0]))
    (row,) = rows_of(ask("predictions.csv", folder)[1])
    assert (Path(row["source"]).name, row["class_name"]) == ("caf\\xe9.png", NAMES[2])


def test_what_is_no_picture_is_passed_over_and_counted(ask, pictures, capsys):
    for name in (".DS_Store", "Thumbs.db", "._1.png", "notes.txt"):
        (pictures / name).write_bytes(b"no picture")
    status, path = ask("predictions.csv", pictures)
    assert (status, len(rows_of(path))) == (0, 3)
    assert "4 files passed over" in capsys.readouterr().err


def test_broken_picture_is_named_and_left_out_only_if_asked(ask, pictures, capsys):
    whole = (pictures / "1.png").read_bytes()
    (pictures / "1.png").write_bytes(whole[: len(whole) // 2])
    status, path = ask("predictions.csv", pictures)
    told = capsys.readouterr().err
    assert status == 2
    assert "1.png (" in told
    assert told.count("\n") == 1
    assert not path.exists()
    status, path = ask("predictions.csv", pictures, "--skip-broken")
    assert (status, [int(row["prediction"]) for row in rows_of(path)]) == (0, [0, 2])
    assert f"broken and left out: {pictures / '1.png'} (" in capsys.readouterr().err


def test_png_without_its_palette_is_named_and_left_out_only_if_asked(ask, pictures, capsys):
    broken = pictures / "1.png"
    stream = io.BytesIO()
    Image.fromarray(banded_images(np.array([1]))[0]).convert("P").save(stream, "PNG")
    broken.write_bytes(without(stream.getvalue(), b"PLTE"))
    assert ask("predictions.csv", pictures)[0] == 2
    told = capsys.readouterr().err
    assert f"{broken} (it has no palette)" in told
    assert told.count("\n") == 1
    status, path = ask("predictions.csv", pictures, "--skip-broken")
    assert (status, [int(row["prediction"]) for row in rows_of(path)]) == (0, [0, 2])
    assert f"broken and left out: {broken} (it has no palette)" in capsys.readouterr().err


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "other": b"hello\n"}[how])


@pytest.mark.parametrize("how", ["cut", "other"])
@pytest.mark.parametrize("form", ["IDX", "Parquet", "TFRecord"])
def test_damaged_file_is_named_and_the_others_are_answered_if_asked(ask, tmp_path, capsys, form, how):
    folder = tmp_path / "input"
    folder.mkdir()
    FORMS[form](folder, {"train": (banded_images(CLASSES), CLASSES), "test": (banded_images(CLASSES[:3]), CLASSES[:3])})
    files = [path for path in folder.rglob("*") if "test" in path.name or "t10k-images" in path.name]
    (damaged,) = [path for path in files if "labels" not in path.name]
    damage(damaged, how)
    status, path = ask("predictions.csv", folder)
    told = capsys.readouterr().err
    assert (status, told.count("\n"), path.exists()) == (2, 1, False)
    assert str(damaged) in told
    status, path = ask("predictions.csv", folder, "--skip-broken")
    assert status == 0
    assert f"broken and left out: {damaged}" in capsys.readouterr().err
    assert [int(row["prediction"]) for row in rows_of(path)][:4] == CLASSES.tolist()


def test_each_picture_that_is_left_out_is_named_and_none_that_is_left_is_an_error(ask, pictures, capsys):
    broken = {"3.png": b"", "4.png": b"text", "5\n.png": b"no"}
    for name, content in broken.items():
        (pictures / name).write_bytes(content)
    (pictures / "6.png").symlink_to("nowhere")
    status, path = ask("predictions.csv", pictures, "--skip-broken")
    told = capsys.readouterr().err.splitlines()
    assert (status, len(rows_of(path))) == (0, 3)
    left_out = [line for line in told if "broken and left out: " in line]
    assert [line.split(str(pictures))[1].split(" (")[0] for line in left_out] == [
        "/3.png",
        "/4.png",
        "/5\\n.png",
        "/6.png",
    ]
    assert "6.png (it cannot be read: No such file or directory)" in left_out[-1]
    for number in range(3):
        (pictures / f"{number}.png").unlink()
    path.unlink()
    status, path = ask("predictions.csv", pictures, "--skip-broken")
    assert (status, path.exists()) == (2, False)
    assert "expected images that can be read, found none: " in capsys.readouterr().err


def test_pipes_hidden_folders_and_folders_called_like_pictures_are_no_images(ask, pictures, capsys):
    """Reading from a pipe would wait for ever."""
    os.mkfifo(pictures / "pipe.png")
    os.mkfifo(pictures / "pipe")
    (pictures / "folder.png").mkdir()
    for hidden in (pictures / ".hidden", pictures / "folder.png" / "__MACOSX"):
        hidden.mkdir()
        shutil.copy(pictures / "0.png", hidden / "0.png")
    status, path = ask("predictions.csv", pictures)
    assert (status, len(rows_of(path))) == (0, 3)
    assert "4 files passed over" in capsys.readouterr().err


def test_names_that_differ_in_bytes_alone_stay_apart(ask, tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    for letter in (b"\xe8", b"\xe9"):
        name = (b"caf" + letter + b".png").decode("utf-8", "surrogateescape")
        (folder / name).write_bytes(encoded(banded_images(np.array([2]))[0]))
    rows = rows_of(ask("predictions.csv", folder)[1])
    assert [Path(row["source"]).name for row in rows] == ["caf\\xe8.png", "caf\\xe9.png"]


def test_pictures_of_a_format_that_is_not_read_are_named(ask, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"II*\0")
    assert ask("predictions.csv", folder)[0] == 2
    assert "a.tif: expected .png, .jpg" in capsys.readouterr().err


def test_answers_do_not_depend_on_the_order_in_which_a_folder_lists_its_files(ask, pictures, monkeypatch):
    first = rows_of(ask("predictions.csv", pictures)[1])
    walk = os.walk

    def backwards(*arguments, **named):
        for place, folders, names in walk(*arguments, **named):
            names.reverse()
            yield place, folders, names

    monkeypatch.setattr("components.example_gen.kinds.registry.os.walk", backwards)
    assert rows_of(ask("others.csv", pictures)[1]) == first


def test_picture_of_another_size_or_in_colour_is_fitted_as_for_training_and_told(ask, pictures, capsys):
    image = banded_images(np.array([1]))[0].repeat(2, axis=0).repeat(2, axis=1)
    (pictures / "large.png").write_bytes(encoded(np.stack([image] * 3, axis=-1)))
    status, path = ask("predictions.csv", pictures)
    assert (status, rows_of(path)[-1]["class_name"]) == (0, NAMES[1])
    told = capsys.readouterr().err
    assert "1 of 4 images is in colour, and turned gray" in told
    assert "1 of 4 images has another size (such as 18x14), fitted into 9x7 by 'pad'" in told


@pytest.fixture
def of_four_channels(served, tmp_path) -> Path:
    """A model whose card says that its images have four channels."""
    version = max((path for path in served.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    model = tmp_path / "model"
    shutil.copytree(version, model)
    card = json.loads((model / CARD_FILE).read_text())
    (model / CARD_FILE).write_text(json.dumps({**card, "image_shape": [9, 7, 4]}))
    return model


ONLY_ARRAYS = (
    "only arrays have other numbers of channels, and they are taken as they are. Give an NPZ or NPY of that shape"
)


def test_pictures_are_none_of_a_model_of_four_channels_which_is_told_before_it_is_loaded(
    of_four_channels, pictures, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tf.saved_model, "load", None)
    for flags in ([], ["--skip-broken"]):
        assert main([str(pictures), str(tmp_path / "a.csv"), "--model", str(of_four_channels), *flags]) == 2
        assert capsys.readouterr().err == (
            f"predict: {pictures / '0.png'}: expected images of 4 channels (9x7x4), found a picture, which has 1 or 3: "
            f"{ONLY_ARRAYS}.\n"
        )


def test_pixels_of_other_channels_than_the_models_four_are_told_by_both_shapes(of_four_channels, tmp_path, capsys):
    np.save(tmp_path / "some.npy", np.zeros((2, 9, 7, 3), np.uint8))
    assert main([str(tmp_path / "some.npy"), str(tmp_path / "a.csv"), "--model", str(of_four_channels)]) == 2
    assert capsys.readouterr().err == (
        f"predict: {tmp_path / 'some.npy'}: expected images of 9x7x4, found 9x7x3: {ONLY_ARRAYS}.\n"
    )


def test_images_beyond_what_training_had_are_told(served, pictures, tmp_path, capsys):
    version = max((path for path in served.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    model = tmp_path / "model"
    shutil.copytree(version, model)
    card = json.loads((model / CARD_FILE).read_text())
    (model / CARD_FILE).write_text(json.dumps({**card, "ranges": {"image_mean": [0, 200]}}))
    (pictures / "white.png").write_bytes(encoded(np.full((9, 7), 255, np.uint8)))
    assert main([str(pictures), str(tmp_path / "a.csv"), "--model", str(model)]) == 0
    told = capsys.readouterr().err
    assert "1 of 4 images lies outside of what the model was trained on" in told
    assert "white.png has mean brightness 255, training had 0 to 200" in told


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("predictions.txt", r"expected a name that ends in \.csv"),
        ("no/predictions.csv", "expected its folder to exist"),
        (f"{230 * 'x'}.parquet", "cannot be written"),
        (f"{230 * 'x'}.csv", r"cannot be written \(File name too long\)"),
        (f"{230 * 'x'}.tfrecord", "cannot be written .*File name too long"),
    ],
)
def test_result_that_cannot_be_written_is_one_line_and_status_2(ask, capsys, name, message):
    """A name that leaves no room for the temporary one stands for a full disk, or a folder that is read-only."""
    import re

    status, path = ask(name)
    assert status == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not path.exists()
    assert not list(path.parent.glob(".*"))


def test_result_behind_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="expected its folder to exist"):
        predict_folder(tmp_path, tmp_path / "loop" / "predictions.csv", tmp_path)


def test_result_that_is_a_folder_is_refused_before_the_model_is_asked(ask, tmp_path, capsys):
    (tmp_path / "predictions.csv").mkdir()
    assert ask("predictions.csv")[0] == 2
    assert "expected the name of a file, found a folder" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["csv", "parquet", "tfrecord"])
def test_a_file_of_the_input_is_never_overwritten_but_an_earlier_result_among_it_is(ask, pictures, capsys, ending):
    mine = pictures / f"mine.{ending}"
    mine.write_text("label,remark\n")
    assert ask(f"pictures/{mine.name}", pictures)[0] == 2
    assert f"{mine}: expected a name of its own, found a file of the input" in capsys.readouterr().err
    assert mine.read_text() == "label,remark\n"
    mine.unlink()
    for _ in range(2):
        status, path = ask(f"pictures/answers.{ending}", pictures)
        assert (status, capsys.readouterr().out) == (0, f"3 answers in {path}\n")


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
@pytest.mark.parametrize("how", ["cut", "empty"])
def test_damaged_model_is_one_line(served, pictures, tmp_path, capsys, file, how):
    version = max((path for path in served.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    shutil.copytree(version, tmp_path / "model")
    damage(tmp_path / "model" / file, how)
    assert main([str(pictures), str(tmp_path / "a.csv"), "--model", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert "model: expected a model that can be loaded, found a damaged one (" in error
    assert error.count("\n") == 1


def test_folder_of_served_models_names_those_in_it(served, pictures, tmp_path, capsys):
    assert main([str(pictures), str(tmp_path / "a.csv"), "--model", str(served.parent)]) == 2
    assert f"Name one of them: --model {served}." in capsys.readouterr().err


def test_model_is_named_as_it_is_served_with_its_variant_behind_a_dot_or_by_a_version_s_folder(
    served, pictures, tmp_path, capsys
):
    root = tmp_path / "output"
    root.mkdir()
    shutil.copytree(served, root / "serving" / "fashion_mnist.smoke", symlinks=True)
    version = root / "serving" / "fashion_mnist.smoke" / str(max(versions(served)))
    for number, model in enumerate(("fashion_mnist.smoke", str(version))):
        result = tmp_path / f"{number}.csv"
        assert main([str(pictures), str(result), "--output-root", str(root), "--model", model]) == 0
        assert [row["class_name"] for row in rows_of(result)] == list(NAMES[:3])
    capsys.readouterr()
    assert main([str(pictures), str(tmp_path / "other.csv"), "--output-root", str(root)]) == 2
    assert "there are fashion_mnist.smoke. Name one with --model." in capsys.readouterr().err


def test_folder_without_a_model_says_to_run_the_pipeline(shards, tmp_path, capsys):
    assert main([str(shards[0]), str(tmp_path / "a.csv"), "--model", str(tmp_path / "serving" / "none")]) == 2
    assert "Run the pipeline first" in capsys.readouterr().err


def test_input_that_is_neither_is_status_2_and_leaves_nothing(ask, tmp_path, capsys):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    status, path = ask("predictions.csv", folder)
    assert status == 2
    assert "expected images, with or without labels, found none of these" in capsys.readouterr().err
    assert not list(path.parent.glob("*predictions*"))
