"""Which settings of the environment are obeyed, and which are not, and that either is told in a line."""

import json
import os
import subprocess
import sys
import warnings

import pytest

from models import host
from pipeline.project import ROOT
from pipeline.surroundings import steering, taken_over


@pytest.fixture
def keras_json(tmp_path):
    """Writes a keras.json and returns an environment that leads to it."""

    def write(settings: object) -> dict[str, str]:
        (tmp_path / "keras").mkdir()
        (tmp_path / "keras" / "keras.json").write_text(json.dumps(settings))
        return {"KERAS_HOME": str(tmp_path / "keras"), "HOME": str(tmp_path)}

    return write


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def test_keras_finds_the_pipelines_own_settings_and_what_it_would_have_found_is_told(keras_json, folder):
    environ = keras_json({"floatx": "float16", "image_data_format": "channels_first", "backend": "tensorflow"})
    environ |= {"KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1"}
    before = dict(environ)
    with taken_over(environ, folder) as lines:
        assert lines == [
            f"not obeyed, for the pipeline needs its own: floatx float16, image_data_format channels_first "
            f"({before['KERAS_HOME']}/keras.json); KERAS_BACKEND=jax; TF_USE_LEGACY_KERAS=1"
        ]
        assert environ["KERAS_BACKEND"] == "tensorflow"
        assert "TF_USE_LEGACY_KERAS" not in environ
        own = json.loads((folder / "keras.json").read_text())
        assert environ["KERAS_HOME"] == str(folder)
        assert (own["floatx"], own["image_data_format"], own["backend"]) == ("float32", "channels_last", "tensorflow")
    assert environ == before


def test_what_would_end_a_training_early_is_not_obeyed(folder):
    environ = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "5", "HOME": str(folder)}
    with taken_over(environ, folder) as lines:
        assert lines == ["not obeyed, for the pipeline needs its own: KERAS_MAX_EPOCHS=1; KERAS_MAX_STEPS_PER_EPOCH=5"]
        assert not {"KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"} & environ.keys()
    assert environ["KERAS_MAX_EPOCHS"] == "1"


@pytest.mark.parametrize("settings", [{}, {"floatx": "float32", "backend": "tensorflow"}, ["no settings"], None])
def test_settings_that_say_nothing_else_are_not_told(keras_json, folder, settings):
    with taken_over(keras_json(settings) | {"KERAS_BACKEND": "tensorflow"}, folder) as lines:
        assert lines == []


def test_what_steers_tensorflow_is_obeyed_and_told(keras_json, folder):
    environ = keras_json({}) | {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2", "OMP_NUM_THREADS": "1", "TF_ENABLE_X": ""}
    with taken_over(environ, folder) as lines:
        assert lines == ["obeyed, and may change results: OMP_NUM_THREADS=1 TF_XLA_FLAGS=--tf_xla_auto_jit=2"]
        assert environ["OMP_NUM_THREADS"] == "1"
    assert steering({"TF_CLI_CONFIG_FILE": "x", "TF_CPP_MIN_LOG_LEVEL": "2", "PATH": "x"}) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("said", "expected"), [(None, "True"), ("", "True"), ("0", "False")])
def test_tensorflow_computes_with_onednn_on_any_processor_unless_the_user_says_no(said, expected):
    asked = "import models; from tensorflow.python.util import _pywrap_util_port as built; print(built.IsMklEnabled())"
    environ = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environ |= {} if said is None else {"TF_ENABLE_ONEDNN_OPTS": said}
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


def test_what_the_pipeline_says_itself_is_no_users_word(keras_json, folder):
    with taken_over(keras_json({}) | {"TF_ENABLE_ONEDNN_OPTS": "1"}, folder) as lines:
        assert lines == []
    with taken_over({"TF_ENABLE_ONEDNN_OPTS": "0"}, folder) as lines:
        assert lines == ["obeyed, and may change results: TF_ENABLE_ONEDNN_OPTS=0"]


def test_name_of_a_screen_that_matplotlib_does_not_know_is_no_error(keras_json, folder):
    with taken_over(keras_json({}) | {"MPLBACKEND": "nonsense"}, folder) as lines:
        assert lines == []


def test_user_without_a_home_gets_one_for_the_while(folder, monkeypatch):
    monkeypatch.setattr(host, "home", lambda: None)
    environ = {}
    with taken_over(environ, folder) as lines:
        assert environ["HOME"] == str(folder)
        assert lines == []
    assert environ == {}


def test_home_that_cannot_be_written_is_replaced_for_the_while(folder, monkeypatch, keras_json):
    monkeypatch.setattr(os, "access", lambda *_: False)
    environ = keras_json({})
    with taken_over(environ, folder):
        assert environ["HOME"] == str(folder)


def test_warnings_that_are_to_be_errors_do_not_end_the_imports(folder, monkeypatch, keras_json):
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings(record=True) as caught, taken_over(keras_json({}), folder) as lines:
        warnings.warn("of TFX's", stacklevel=1)
    assert lines == ["not obeyed, for the pipeline needs its own: PYTHONWARNINGS=error"]
    assert len(caught) == 1
