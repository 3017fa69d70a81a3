"""The summary's file."""

import json
import os
import sys
from pathlib import Path

import pytest
from tfx import v1 as tfx  # noqa: F401  (without it TFMA lacks its configuration classes)

from pipeline.run.summary import environment, write_summary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "summary.json"


def test_summary_is_json_that_ends_with_a_line_break(path):
    summary = {"blessed": True, "metrics": {"test_accuracy": 0.5}, "pushed_model": None}
    write_summary(path, summary)
    assert json.loads(path.read_text()) == summary
    assert path.read_text().endswith("}\n")
    assert list(path.parent.iterdir()) == [path]


def test_summary_is_there_whole_or_not_at_all(path, monkeypatch):
    write_summary(path, {"run": "first"})

    def power_cut(self: Path, text: str) -> None:
        with self.open("w") as stream:
            stream.write(text[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", power_cut)
    with pytest.raises(OSError, match="No space left"):
        write_summary(path, {"run": "second"})
    assert json.loads(path.read_text()) == {"run": "first"}


def test_environment_names_the_versions_that_are_imported():
    import tensorflow as tf

    found = environment()
    assert found["tensorflow"] == tf.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["beam"] == sys.modules["apache_beam"].__version__
    assert found["glibc"] in os.confstr("CS_GNU_LIBC_VERSION")
    assert set(found) == {"python", "tensorflow", "tfx", "beam", "glibc"}
