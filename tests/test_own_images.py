"""Whole runs on what people have: pictures, letters, small sets; broken input in each form, which publishes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.idx import read_idx
from pipeline.run.code_digest import ROOT
from tests.forms import FORMS, encoded
from tests.letters import draw_letters
from tests.test_pipeline_runs import run_smoke


@pytest.fixture(scope="module")
def real(fashion_mnist) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The first images of Fashion-MNIST and their labels, by part."""
    sizes = {"train": ("train", 6_000), "test": ("t10k", 1_000)}
    return {
        part: tuple(
            read_idx(fashion_mnist / f"{stem}-{axis}-ubyte.gz")[:size] for axis in ("images-idx3", "labels-idx1")
        )
        for part, (stem, size) in sizes.items()
    }


@pytest.mark.slow
@pytest.mark.faults
def test_pictures_give_the_accuracy_of_idx_to_the_digit(real, tmp_path):
    accuracies = []
    for form in ("IDX", "class folders"):
        folder = tmp_path / form.replace(" ", "_")
        folder.mkdir()
        FORMS[form](folder, real)
        run = run_smoke(tmp_path / "output" / form, folder)
        assert run.status == 0, run
        assert f"{form}: 6,000 train and 1,000 test images of 28x28, 10 classes\n" in run.console
        accuracies.append(run.summary["metrics"]["test_accuracy"])
    assert accuracies[0] == accuracies[1] > 0.85


@pytest.mark.slow
def test_letters_that_are_mirror_images_of_each_other_are_told_apart(tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number, (image, label) in enumerate(zip(*draw_letters(letters, 120, seed=1), strict=True)):
        path = tmp_path / "letters" / letters[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image))
    run = run_smoke(tmp_path / "output", tmp_path / "letters")
    assert run.status == 0, run
    assert ", not mirrored" in run.console
    assert not run.summary["training"]["flip"]
    assert run.summary["metrics"]["test_accuracy"] > 0.98


@pytest.mark.slow
@pytest.mark.faults
def test_digits_of_scikit_learn_run_to_a_pushed_model(tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.savez(tmp_path / "digits.npz", x=(digits.images * 255 / 16).round().astype(np.uint8), y=digits.target)
    run = run_smoke(tmp_path / "output", tmp_path / "digits.npz")
    assert run.status == 0, run
    assert "NumPy: 1,797 train images of 8x8, 10 classes\n" in run.console
    assert run.summary["metrics"]["test_accuracy"] > 0.95
    assert Path(run.summary["pushed_model"]).parent.name == "digits.smoke"


@pytest.mark.slow
def test_a_hundred_pictures_run_to_the_end_with_a_word_on_what_that_means(real, tmp_path):
    images, labels = real["train"]
    for number in range(100):
        path = tmp_path / "data" / f"class {labels[number]}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(images[number]))
    (tmp_path / "data" / "class 1" / ".DS_Store").write_bytes(b"no picture")
    run = run_smoke(tmp_path / "output", tmp_path / "data")
    assert run.status == 0, run
    assert "1 file passed over" in run.console
    assert "few images: train 75, val 8, test 17; " in run.console
    assert "17 test images, which tell it to 0." in run.summary["verdict"]
    # Better than the largest class by more than luck, the floor of data that have none of their own.
    assert run.summary["provenance"]["floors"] == {}


@pytest.fixture
def refused(tmp_path):
    """Runs on a folder, and returns the one line that it is refused with; nothing is published or kept."""

    def run(folder: Path, *flags: str) -> str:
        output = tmp_path / "output"
        command = [sys.executable, "local_runner.py", "--data-dir", str(folder), "--output-root", str(output), *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert not output.exists() or not list(output.iterdir())
        (line,) = done.stderr.splitlines()
        return line

    return run


@pytest.mark.parametrize("form", FORMS)
def test_file_cut_in_the_middle_is_one_line_and_nothing_is_published(refused, real, tmp_path, form):
    folder = tmp_path / "data"
    folder.mkdir()
    FORMS[form](folder, {part: (images[:60], labels[:60]) for part, (images, labels) in real.items()})
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    # Of a picture the header remains readable; only whoever decodes it sees what is missing.
    path.write_bytes(content[: len(content) // 2 if form != "class folders" else 20])
    assert str(path) in refused(folder)


def test_sizes_that_differ_are_told_with_what_to_choose(refused, tmp_path):
    for number in range(8):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(np.full((6, 5 + (number == 7)), number, np.uint8)))
    line = refused(tmp_path / "data")
    assert "expected images of one size, found 6x5 (7), 6x6 (1). Choose one" in line


def test_splits_that_are_not_to_be_had_are_told_before_anything_runs(refused, tmp_path):
    np.savez(tmp_path / "few.npz", x=np.arange(40, dtype=np.uint8).reshape(10, 2, 2), y=np.arange(10) % 2)
    line = refused(tmp_path / "few.npz", "--set", "split_sizes=none,20,none")
    expected = "expected at least one example for each of train, val, test and at most the 10"
    assert line.startswith(f"local_runner.py: --set split_sizes=none,20,none: {expected}")


@pytest.mark.slow
def test_dry_run_tells_what_the_data_are_and_leaves_nothing(tmp_path):
    np.savez(tmp_path / "few.npz", x=np.arange(40, dtype=np.uint8).reshape(10, 2, 2), y=np.arange(10) % 2 + 1)
    command = [sys.executable, "local_runner.py", "--data-dir", str(tmp_path / "few.npz"), "--dry-run"]
    command += ["--output-root", str(tmp_path / "output"), "--log-format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    lines = [json.loads(line)["text"] for line in done.stdout.splitlines() if '"line"' in line]
    assert lines[0] == "NumPy: 10 train images of 2x2, 2 classes; labels from 1 to 2: 2 classes, numbered from 0"
    assert lines[1].startswith("few images: train 7, val 1, test 2; ")
    assert not (tmp_path / "output").exists()
