"""Notes and tags of runs, and what `runs` makes of what is asked of it; databases that ML Metadata wrote."""

import csv
import dataclasses
import datetime
import io
import json
import os
import shutil
import sqlite3

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import BusyError, InputError
from pipeline.metadata import labels, runs
from pipeline.metadata.cli import main
from pipeline.metadata.labels import check_note, check_tag, label
from pipeline.metadata.store import Run, Store
from pipeline.metadata.text import table
from pipeline.output_root import OutputRoot

FIRST, SECOND, THIRD = (f"2026112{day}-030000-000" for day in (1, 2, 3))
NOW = datetime.datetime(2026, 11, 28, 12, 0)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> OutputRoot:
    """An output root with three runs, of which ML Metadata has the contexts alone."""
    root = OutputRoot(tmp_path_factory.mktemp("labels") / "output")
    root.path.mkdir()
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(root.metadata)
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(connection)
    kind = store.put_context_type(mlmd.ContextType(name="pipeline_run"))
    for run_id, accuracy in ((FIRST, 0.91), (SECOND, 0.93), (THIRD, None)):
        context = mlmd.Context(type_id=kind, name=run_id)
        context.custom_properties["name"].string_value = "clothes"
        context.custom_properties["state"].string_value = "done" if accuracy else "data refused"
        context.custom_properties["summary"].string_value = json.dumps({"run_id": run_id})
        if accuracy:
            context.custom_properties["test_accuracy"].double_value = accuracy
        store.put_contexts([context])
        root.make_run(run_id).summary.write_text(json.dumps({"run_id": run_id, "note": None, "tags": []}))
    return root


@pytest.fixture
def root(written, tmp_path) -> OutputRoot:
    """The same in a folder that a test may change."""
    return OutputRoot(shutil.copytree(written.path, tmp_path / "output"))


@pytest.fixture
def ask(root, capsys):
    """Runs a command and returns its exit status, output and errors."""

    def call(*words: str) -> tuple[int, str, str]:
        status = main([*words, "--output-root", str(root.path)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def run(number: int, **properties) -> Run:
    return Run(number=number, id=f"r{number}", started=1000 * number, properties=properties)


def test_tags_are_added_once_and_taken_away_and_the_summary_has_them(ask, root):
    assert ask("tag", FIRST, "july", "baseline", "july")[1] == f"run {FIRST}: tags baseline, july; note none\n"
    assert ask("note", FIRST, "  the first  ")[0] == 0
    assert ask("tag", FIRST, "july", "never-there", "--remove")[0] == 0
    found = Store(root.metadata).find_run(FIRST)
    assert (found.record["note"], found.record["tags"]) == ("the first", ["baseline"])
    summary = json.loads(root.run(FIRST).summary.read_text())
    assert summary == {"run_id": FIRST, "note": "the first", "tags": ["baseline"]}
    assert json.loads(ask("note", FIRST, "", "--json")[1]) == {"run": FIRST, "note": None, "tags": ["baseline"]}
    assert Store(root.metadata).find_run(FIRST).record["note"] is None


def test_run_is_found_by_its_tag_and_a_tag_of_two_runs_names_both(ask):
    ask("tag", FIRST, "july")
    assert json.loads(ask("show", "july", "--json")[1])["run"]["id"] == FIRST
    ask("tag", SECOND, "july")
    status, _, error = ask("show", "july")
    assert status == 2
    assert error == (
        f"pipeline.metadata: tag july: expected one run that has it, found 2 ({FIRST} to {SECOND}). Name one by its "
        "id; 'runs --tag july' lists them.\n"
    )


def test_show_and_diff_tell_what_was_said(ask):
    ask("tag", FIRST, "july")
    ask("note", SECOND, "brighter")
    assert json.loads(ask("show", SECOND, "--json")[1])["run"]["note"] == "brighter"
    rows = json.loads(ask("diff", FIRST, SECOND, "--json")[1])["differences"]
    said = {row["name"]: (row["first"], row["second"]) for row in rows if row["aspect"] == "said"}
    assert said == {"note": (None, "brighter"), "tags": (["july"], None)}


def test_table_has_columns_of_what_was_said_where_anything_was(ask):
    assert "tags" not in ask("runs")[1]
    ask("tag", FIRST, "july")
    assert ask("runs")[1].splitlines()[0].endswith("standing  tags")
    ask("note", FIRST, "word " * 20)
    assert ask("runs")[1].splitlines()[-1].endswith("july  word word word word word word word wo...")


@pytest.mark.parametrize("tag", ["", "7days", "latest", "a8", "e12", "two words", "a,b", "-x", "_x", "x\n"])
def test_tag_that_a_command_line_could_take_for_something_else_is_refused(tag):
    with pytest.raises(InputError, match=r"^tag .*: expected a letter, then letters, digits and"):
        check_tag(tag)


@pytest.mark.parametrize("tag", ["july", "v1.2", "größe", "a-8", "exp:3", "latest-one"])
def test_other_tags_are_taken(tag):
    assert check_tag(tag) == tag


@pytest.mark.parametrize("note", ["two\nlines", "\x1b[2J", "\ud800"])
def test_note_that_is_no_line_is_refused(note):
    with pytest.raises(InputError, match="expected one line of text"):
        check_note(note)


def test_label_in_a_database_that_another_program_has_locked_is_refused_and_changes_nothing(root, monkeypatch):
    monkeypatch.setattr(labels, "_PATIENCE_SECONDS", 0.05)
    store = Store(root.metadata)
    found = store.find_run(FIRST)
    other = sqlite3.connect(root.metadata, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="another program has it locked"):
        label(store, found, root, note="lost?")
    other.execute("ROLLBACK")
    assert Store(root.metadata).find_run(FIRST).record["note"] is None


def test_labels_of_two_who_read_before_either_wrote_are_both_kept(root):
    store, other = Store(root.metadata), Store(root.metadata)
    mine, theirs = store.find_run(FIRST), other.find_run(FIRST)
    label(store, mine, root, add=["mine"])
    label(other, theirs, root, add=["theirs"])
    assert Store(root.metadata).find_run(FIRST).record["tags"] == ["mine", "theirs"]


def test_runs_are_chosen_by_state_tag_and_data_sorted_and_limited():
    found = [
        runs.describe(run(3, state="done", name="bags", test_accuracy=0.9, tags=["july", "big"])),
        runs.describe(run(2, state="failed", name="bags", tags=["july"])),
        runs.describe(run(1, state="done", name="shoes", test_accuracy=0.95)),
    ]
    assert [line["id"] for line in runs.select(found)] == ["r3", "r2", "r1"]
    assert [line["id"] for line in runs.select(found, states=["done"])] == ["r3", "r1"]
    assert [line["id"] for line in runs.select(found, states=["done", "failed"], data="bags")] == ["r3", "r2"]
    assert [line["id"] for line in runs.select(found, tags=["july", "big"])] == ["r3"]
    # What has no accuracy comes last.
    assert [line["id"] for line in runs.select(found, sort="accuracy")] == ["r1", "r3", "r2"]
    assert [line["id"] for line in runs.select(found, sort="state", limit=2)] == ["r3", "r1"]


def test_runs_are_listed_in_the_order_in_which_they_began_though_the_clock_was_set_back_between_them():
    later, earlier = (dataclasses.replace(run(number), started=started) for number, started in ((2, 0), (1, 3_600_000)))
    found = [runs.describe(later), runs.describe(earlier)]
    assert [line["id"] for line in runs.select(found)] == ["r2", "r1"]


def test_every_key_that_one_can_sort_by_is_one_of_a_run():
    assert {*runs.KEYS} <= {*runs.describe(run(1)), "standing"}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-20", datetime.datetime(2026, 11, 20)),
        ("2026-11-20T14:30", datetime.datetime(2026, 11, 20, 14, 30)),
        ("7d", datetime.datetime(2026, 11, 21, 12, 0)),
        ("12h", datetime.datetime(2026, 11, 28, 0, 0)),
        ("30m", datetime.datetime(2026, 11, 28, 11, 30)),
        ("2w", datetime.datetime(2026, 11, 14, 12, 0)),
    ],
)
def test_since_is_a_time_or_how_long_ago(text, time):
    assert runs.moment(text, NOW) == time


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "-7d", "2026-13-01", "0001-01-01", "9" * 30 + "d", "٣d"])
def test_since_that_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="expected a day or a time"):
        runs.moment(text, NOW)


def test_since_leaves_out_what_began_before(ask, root):
    with sqlite3.connect(root.metadata) as base:
        base.execute("UPDATE Context SET create_time_since_epoch = 1000 WHERE name = ?", (FIRST,))
    assert [line["id"] for line in json.loads(ask("runs", "--since", "1h", "--json")[1])] == [THIRD, SECOND]
    assert ask("runs", "--since", "2099-01-01")[1] == "no such run; 'runs' alone lists all\n"


def test_csv_has_the_keys_of_json_as_columns(ask, tmp_path):
    ask("tag", SECOND, "july", "big")
    ask("note", SECOND, 'so, "this"')
    shown = json.loads(ask("runs", "--json")[1])
    rows = list(csv.DictReader(io.StringIO(ask("runs", "--csv", "-")[1])))
    assert [list(row) for row in rows] == [list(line) for line in shown]
    assert [(row["id"], row["accuracy"]) for row in rows] == [(THIRD, ""), (SECOND, "0.93"), (FIRST, "0.91")]
    assert (rows[1]["note"], rows[1]["tags"]) == ('so, "this"', "big july")
    file = tmp_path / "runs.csv"
    assert ask("runs", "--state", "data-refused", "--csv", str(file))[1] == f"1 run in {file}\n"
    assert [row["id"] for row in csv.DictReader(file.open())] == [THIRD]
    # Without any run there are columns all the same.
    assert ask("runs", "--data", "none", "--csv", "-")[1] == ",".join(shown[0]) + "\n"


def test_csv_goes_through_a_link_and_into_a_pipe_and_replaces_neither(ask, tmp_path):
    """As root, `--csv /dev/stdout` would otherwise make that a file."""
    file, link, pipe = tmp_path / "runs.csv", tmp_path / "link", tmp_path / "pipe"
    file.touch()
    link.symlink_to(file)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for place in (link, pipe):
            assert ask("runs", "--csv", str(place))[0] == 0
        read = os.read(reader, 10_000).decode()
    finally:
        os.close(reader)
    assert link.is_symlink() and pipe.is_fifo()
    assert read == file.read_text() == ask("runs", "--csv", "-")[1]


def test_columns_stay_aligned_behind_wide_letters_and_accents():
    """A terminal gives two columns to each wide letter, and none to a combining accent."""
    rows = [["ｔａｇ", "1"], ["gro\u0308ße", "2"], ["abc", "3"]]
    told = ["tag     n", "ｔａｇ  1", "gro\u0308ße   2", "abc     3"]
    assert table(["tag", "n"], rows).splitlines() == told
    assert table(["tag", "n"], rows, right=("tag",)).splitlines()[1:3] == ["ｔａｇ  1", " gro\u0308ße  2"]


def test_tag_is_shown_in_the_letters_that_it_was_given_in(ask):
    ask("tag", SECOND, "größe")
    assert '["größe"]' in ask("show", "größe")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("runs", "--limit", "0"), "--limit: expected 1 or more runs, found 0."),
        (("runs", "--since", "soon"), "--since soon: expected a day or a time"),
        (("runs", "--csv", "-", "--json"), "--csv: expected no --json beside it. Give one of them."),
        (("runs", "--csv", "no/such/folder/runs.csv"), "--csv no/such/folder/runs.csv: cannot be written ("),
        (("tag", "latest", "two words"), "tag 'two words': expected a letter"),
        (("tag", "nowhere", "july"), "run nowhere: expected a run of"),
        (("note", "latest", "a\nb"), "note 'a\\nb': expected one line"),
    ],
)
def test_what_cannot_be_asked_or_said_is_refused_in_a_line(ask, words, told):
    status, out, error = ask(*words)
    assert (status, out) == (2, "")
    assert error.startswith(f"pipeline.metadata: {told}")
    assert len(error.splitlines()) == 1
