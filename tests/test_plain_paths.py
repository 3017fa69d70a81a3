"""No folder's name is taken for a pattern, and what is written below it lies there."""

import tempfile
from pathlib import Path

import pytest

from models.plain_paths import MAGIC, is_plain, plain


@pytest.mark.parametrize("name", ["run [1]", "a*b", "a?b", "a\\b", "[", "a]b[c"])
def test_folder_whose_name_is_a_pattern_is_named_by_a_link_without(name, tmp_path):
    folder = tmp_path / name / "deeper"
    folder.mkdir(parents=True)
    with plain(folder) as named:
        assert not set(MAGIC) & set(str(named))
        (named / "written").write_text("here")
        assert named.resolve() == folder
    assert (folder / "written").read_text() == "here"
    assert not named.exists() and not named.is_symlink()


@pytest.mark.parametrize("name", ["a b", "ä/日本", "a#b%20c", "a{1}b", "it's", 'a"b', "x" * 200])
def test_other_names_are_kept(name, tmp_path):
    before = set(Path(tempfile.gettempdir()).iterdir())
    with plain(tmp_path / name) as named:
        assert named == tmp_path / name
        assert set(Path(tempfile.gettempdir()).iterdir()) == before


def test_relative_path_is_judged_by_where_it_leads_from(tmp_path, monkeypatch):
    (tmp_path / "run [1]" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run [1]")
    assert not is_plain("model")
    with plain(Path("model")) as named:
        assert named.resolve() == tmp_path / "run [1]" / "model"
