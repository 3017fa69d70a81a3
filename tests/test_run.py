"""What is refused before the DAG is built: nothing of it may touch the output root."""

import dataclasses
import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from components.errors import InputError
from pipeline.config import PipelineConfig
from pipeline.nodes import Selection
from pipeline.output_root import OutputRoot
from pipeline.presets import preset
from pipeline.report import render
from pipeline.run import partial_run
from pipeline.run.console import Console
from pipeline.run.partial_run import Base
from pipeline.run.run import check, check_path, run_pipeline, tell_plan
from pipeline.run.telling import write_report_if_possible
from pipeline.settings import Settings, resolve

SELECTION = Selection(from_node="Transform")


@pytest.fixture
def config(idx_folder, tmp_path: Path) -> PipelineConfig:
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    folder = idx_folder(images, labels, images, labels)
    return preset("smoke", data_dir=folder, output_root=tmp_path / "output")


def test_output_root_in_use_by_another_run_is_refused_and_left_as_it_is(config, tmp_path):
    config.output_root.mkdir()
    with (config.output_root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=rf"^{config.output_root}: another run is using it\. Wait for it"):
            run_pipeline(Settings.of(config), tmp_path)
    assert [path for path in (config.output_root / "runs").iterdir()] == []
    assert not OutputRoot(config.output_root).metadata.exists()


def test_search_before_a_warm_start_is_refused_before_the_output_root_is_made(config, tmp_path):
    training, tune = (
        dataclasses.replace(config.training, warm_start=True),
        dataclasses.replace(config.tune, enabled=True),
    )
    both = Settings.of(dataclasses.replace(config, training=training, tune=tune))
    told = (
        r"^code: training\.warm_start: expected false with a search \(--tune\), found true: its trials begin anew, and "
    )
    for begin in (run_pipeline, tell_plan):
        with pytest.raises(InputError, match=told):
            begin(both, tmp_path)
    assert not config.output_root.exists()
    # Each by itself is none of this.
    check(Settings.of(dataclasses.replace(config, training=training)))
    check(Settings.of(dataclasses.replace(config, tune=tune)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of_the_run", "given"),
    [("training.warm_start=true", "tune.enabled=true"), ("tune.enabled=true", "training.warm_start=true")],
)
def test_search_and_warm_start_are_refused_together_where_one_of_them_is_an_earlier_run_s(
    of_the_run, given, config, tmp_path, monkeypatch
):
    flags = {"output_root": ("--output-root", config.output_root), "data_dir": ("--data-dir", config.data_dir)}

    def settle(assignment: str) -> Settings:
        return resolve(preset="smoke", flags=flags, assignments=[assignment], file=None, environ={})

    both = settle(given).on_top_of(settle(of_the_run).as_dict(), "1")
    monkeypatch.setattr(partial_run, "find_base", lambda *_: Base(selection=SELECTION, run_id="1", settings=both))
    with pytest.raises(InputError, match=r"warm_start(=true)?: expected false with a search \(--tune\), found true"):
        tell_plan(settle(given), tmp_path, SELECTION)


def test_output_root_that_is_a_file_is_refused(config, tmp_path):
    config.output_root.write_text("precious")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)\. Choose another --output-root"):
        run_pipeline(Settings.of(config), tmp_path)
    assert config.output_root.read_text() == "precious"


def test_disk_that_is_full_before_anything_was_recorded_leaves_nothing_of_the_run(config, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "metadata.db")

    monkeypatch.setattr("pipeline.run.run._run", fail)
    with pytest.raises(InputError, match=r"^metadata.db: cannot be written \(No space left on device\)\. Free some"):
        run_pipeline(Settings.of(config), tmp_path)
    assert list((config.output_root / "runs").iterdir()) == []


def test_data_that_do_not_fit_together_are_refused_before_the_output_root_is_made(config, tmp_path):
    (config.data_dir / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\3abc")
    with pytest.raises(InputError, match="one label for each of the 4 images"):
        run_pipeline(Settings.of(config), tmp_path)
    assert not config.output_root.exists()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a bug of ours\nin two lines"), "ValueError: a bug of ours"),
        (InputError("report.html: cannot be written."), "report.html: cannot be written."),
    ],
)
def test_report_that_cannot_be_written_is_one_line_and_no_failure(error, told, monkeypatch, tmp_path, capfd):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(render, "write_report", fail)
    with Console(tmp_path / "log.txt") as console:
        assert write_report_if_possible(OutputRoot(tmp_path), "20260101", console) is None
    assert capfd.readouterr() == ("", f"no report: {told}\n")
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_floor_of_a_metric_that_does_not_exist_is_refused_before_anything_is_made(config, tmp_path):
    config = dataclasses.replace(config, floors={"acuracy": 0.9})
    with pytest.raises(InputError, match="accuracy"):
        run_pipeline(Settings.of(config), tmp_path)
    assert not config.output_root.exists()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (os.fsdecode(b"/tmp/\xff"), r"--output-root '/tmp/\udcff': expected a path in UTF-8, found another encoding."),
        ("/tmp/a\nb", r"--output-root '/tmp/a\nb': expected no control characters in a path, found one."),
    ],
)
def test_path_that_can_be_no_line_of_text_is_refused_before_anything_is_made(path, told):
    with pytest.raises(InputError) as raised:
        check_path("--output-root", Path(path))
    assert str(raised.value).startswith(told)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("path", ["/tmp/a b", "/tmp/ä/日本", "/tmp/run [1]*?", '/tmp/it\'s "so"', "relative/", None])
def test_other_paths_are_taken(path):
    check_path("--data-dir", path and Path(path))
