"""The text files of a user, as editors of all systems write them."""

import pytest

from components.errors import InputError
from components.example_gen.dataset import read_schema_file
from components.text import read_text

SCHEMA = 'feature {\n  name: "label"\n  type: INT\n}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_text_is_the_same_however_it_is_written(encoding, ending, tmp_path):
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "classes.txt").write_bytes((mark + ending.join(["Kätzchen", "犬", ""])).encode(encoding))
    assert read_text(tmp_path / "classes.txt") == ("Kätzchen\n犬\n", "")


def test_other_encodings_are_guessed_and_that_is_said(tmp_path):
    (tmp_path / "classes.txt").write_bytes("Kätzchen\r\n".encode("cp1252"))
    assert read_text(tmp_path / "classes.txt") == (
        "Kätzchen\n",
        "classes.txt is not in UTF-8 and was read as Windows-1252",
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_schema_of_any_editor_is_one(encoding, tmp_path):
    path = tmp_path / "schema.pbtxt"
    path.write_bytes(SCHEMA.replace("\n", "\r\n").encode(encoding))
    assert read_schema_file(path) == SCHEMA


def test_mistake_in_a_schema_names_file_line_and_column(tmp_path):
    path = tmp_path / "schema.pbtxt"
    path.write_text(SCHEMA.replace("type: INT", "tipe: INT"))
    with pytest.raises(InputError) as raised:
        read_schema_file(path)
    assert str(raised.value).startswith(f"{path}: expected a schema, found an error at 3:3 : ")
    assert "tipe" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_file_that_cannot_be_read_is_told_in_a_line(tmp_path):
    with pytest.raises(InputError) as raised:
        read_text(tmp_path)
    assert str(raised.value) == f"{tmp_path}: cannot be read (Is a directory)."
