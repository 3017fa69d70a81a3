"""What the canary lets pass: answers made by hand, and models served by a process of their own."""

import contextlib
import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.errors import DataRefused, ModelRefused, PipelineError
from components.infra_validator import client, serving
from components.infra_validator.client import Refused, check_agreement, check_answers, read_images
from components.infra_validator.serving import serve_once
from models.examples import Examples
from models.portable import LITERT_FILE
from models.warmup import WARMUP_FILE
from pipeline.run.code_digest import ROOT
from tests.served_models import banded_images, export_banded_model, write_examples

LABELS = np.arange(70) % 3


def answers(**changes) -> dict[str, np.ndarray]:
    good = {
        "class_id": np.array([1, 0]),
        "class_name": np.array([b"bee", b"ant"]),
        "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]]),
    }
    return {**good, **changes}


def test_well_formed_answers_pass():
    check_answers(answers(), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": np.array([[0.25, 0.75], [np.nan, 0.5]])}, "add up to 1"),
        ({"probabilities": np.array([[0.5, 0.75], [0.5, 0.5]])}, "add up to 1"),
        ({"probabilities": np.array([[0.25, 0.75]])}, "expected 2 answers, found 1"),
        ({"class_id": np.array([0, 0])}, "most probable class"),
        ({"class_name": np.array([b"", b"ant"])}, "one name for each class"),
    ],
)
def test_malformed_answers_are_refused(changes, message):
    with pytest.raises(Refused, match=message):
        check_answers(answers(**changes), 2)


def test_missing_output_is_named():
    found = answers()
    del found["class_name"]
    with pytest.raises(Refused, match="found no class_name"):
        check_answers(found, 2)


def test_one_class_under_two_names_is_refused():
    found = {
        "class_id": np.array([0, 0]),
        "class_name": np.array([b"ant", b"bee"]),
        "probabilities": np.array([[0.9, 0.1]] * 2),
    }
    with pytest.raises(Refused, match="one name for each class"):
        check_answers(found, 2)


def test_one_class_under_another_name_in_a_later_batch_is_refused():
    names = set()
    check_answers(answers(), 2, names)
    assert names == {(0, b"ant"), (1, b"bee")}
    with pytest.raises(Refused, match="one name for each class"):
        check_answers(answers(class_name=np.array([b"wasp", b"ant"])), 2, names)


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (500, [5])])
def test_images_are_read_batch_by_batch_in_their_order(tmp_path, rows, sizes):
    images = np.arange(5 * 3 * 2 * 4, dtype=np.uint8).reshape(5, 3, 2, 4)
    np.save(tmp_path / "images.npy", images)
    batches = list(read_images(tmp_path / "images.npy", rows))
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), images, strict=True)


def test_signatures_that_agree_pass():
    check_agreement(answers(), answers(), {(0, b"ant"), (1, b"bee")})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"probabilities": np.array([[0.2501, 0.7499], [0.5, 0.5]])},
            r"expected both signatures to agree to 1e-05, found probabilities 0\.0001 apart",
        ),
        ({"probabilities": np.array([[0.25, 0.75], [np.nan, np.nan]])}, "add up to 1"),
        ({"probabilities": np.array([[0.25, 0.75]])}, "expected 2 answers, found 1"),
        ({"class_id": np.array([0, 0])}, "most probable class"),
        ({"class_name": np.array([b"wasp", b"ant"])}, "one name for each class"),
    ],
)
def test_signatures_that_differ_are_refused(changes, message):
    with pytest.raises(Refused, match=message):
        check_agreement(answers(), answers(**changes), {(0, b"ant"), (1, b"bee")})


def split_of(folder: Path, **options) -> Examples:
    return write_examples(folder, {"test": (banded_images(LABELS), LABELS)}, **options)


@pytest.fixture(scope="module")
def bands(tmp_path_factory) -> Examples:
    return split_of(tmp_path_factory.mktemp("split"))


@pytest.fixture
def model(bands, tmp_path):
    return export_banded_model(tmp_path / "model", bands.shards("test"))


@dataclasses.dataclass
class Stranger:
    """Stands for the fresh process: keeps what it was started with, and ends as it is told to."""

    report: dict | None = dataclasses.field(default_factory=lambda: {"litert_disagreements": 0})
    returncode: int = 0
    stderr: str = ""
    command: list[str] = dataclasses.field(default_factory=list)
    images: np.ndarray | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def run(self, command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess:
        self.command, self.images, self.environment = command, np.load(command[5]), env
        if self.report is not None:
            Path(command[6]).write_text(json.dumps(self.report))
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def stranger(monkeypatch) -> Stranger:
    stranger = Stranger()
    monkeypatch.setattr(serving.subprocess, "run", stranger.run)
    return stranger


def test_client_that_runs_is_the_text_that_was_imported(stranger, bands, monkeypatch, tmp_path):
    """The cache key covers what was imported; the file may have been edited since."""
    text = Path(client.__file__).read_text()
    edited = tmp_path / "client.py"
    edited.write_text("raise SystemExit('edited')\n")
    monkeypatch.setattr(client, "__file__", str(edited))
    monkeypatch.setattr(inspect, "getsource", lambda _: edited.read_text())
    serve_once(tmp_path / "model", bands)
    assert stranger.command[1:4] == ["-I", "-c", text]
    assert not any(argument.endswith("client.py") for argument in stranger.command)


def test_fresh_process_is_handed_the_model_the_images_and_the_shards(stranger, tmp_path):
    bands = split_of(tmp_path / "zipped", encoding="png", compression="GZIP")
    assert serve_once(tmp_path / "model", bands) == {"litert_disagreements": 0}
    assert stranger.command[4] == str(tmp_path / "model")
    assert stranger.command[7:] == ["500", "GZIP", *map(str, bands.shards("test"))]
    np.testing.assert_array_equal(stranger.images, banded_images(LABELS), strict=True)


@pytest.mark.parametrize(("said", "told"), [("1", None), ("0", "0")], ids=["by the pipeline", "by the user"])
def test_fresh_process_has_tensorflow_as_a_model_server_has_it(stranger, bands, monkeypatch, said, told):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", said)
    monkeypatch.setenv("OF_THE_USER", "x")
    serve_once(Path("model"), bands)
    assert stranger.environment.get("TF_ENABLE_ONEDNN_OPTS") == told
    assert stranger.environment["OF_THE_USER"] == "x"


def test_no_more_images_are_asked_about_than_the_bound(stranger, bands, monkeypatch):
    monkeypatch.setattr(serving, "MOST_ASKED", 40)
    serve_once(Path("model"), bands)
    # Over the end of the first shard, which has 35.
    np.testing.assert_array_equal(stranger.images, banded_images(LABELS)[:40], strict=True)


def cut(content: bytes, records: int) -> bytes:
    """Returns a shard of records of one length without its last ones."""
    length = int.from_bytes(content[:8], "little") + 16
    assert len(content) % length == 0
    return content[: -records * length]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "found a damaged one after record 0"),
        (lambda content: content[:-5], "found a damaged one after record 0"),
        (
            lambda content: cut(content, 3),
            "expected the 70 records that ExampleGen wrote, found 67: a shard was changed",
        ),
        (lambda content: b"", "expected the 70 records that ExampleGen wrote, found 35: a shard was changed"),
    ],
    ids=["a byte", "cut in a record", "cut between two", "empty"],
)
def test_shard_that_was_damaged_since_the_gate_is_told_as_that_and_no_model_blamed(stranger, tmp_path, damage, told):
    damaged = split_of(tmp_path)
    shard = damaged.shards("test")[1]
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DataRefused) as raised:
        serve_once(tmp_path / "model", damaged)
    assert str(raised.value).startswith(str(shard if "damaged" in told else shard.parent))
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert stranger.command == []


def test_damage_behind_the_images_that_are_asked_about_is_for_others_to_tell(stranger, tmp_path, monkeypatch):
    damaged = split_of(tmp_path)
    shard = damaged.shards("test")[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    monkeypatch.setattr(serving, "MOST_ASKED", 40)
    serve_once(tmp_path / "model", damaged)
    np.testing.assert_array_equal(stranger.images, banded_images(LABELS)[:40], strict=True)


@pytest.mark.parametrize(("disagreements", "refused"), [(5, False), (6, True)])
def test_portable_model_may_differ_for_five_images_of_a_thousand(stranger, tmp_path, disagreements, refused):
    many = write_examples(tmp_path, {"test": (banded_images(np.arange(1_200) % 3), np.arange(1_200) % 3)})
    stranger.report = {"litert_disagreements": disagreements}
    with pytest.raises(ModelRefused, match="at most 5 of 1,000 images") if refused else contextlib.nullcontext():
        serve_once(Path("model"), many)
    assert len(stranger.images) == 1_000


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"returncode": 1, "stderr": "W0 a warning\nexpected answers\n"}, "cannot be served: expected answers."),
        ({"returncode": -11}, "cannot be served: it ended with status -11."),
        ({"report": None}, "cannot be served: it ended with status 0."),
        (
            {"report": {"litert_disagreements": 1}},
            "expected the portable model to take at most 0 of 70 images for another class, found 1.",
        ),
    ],
    ids=["told", "crashed", "no report", "portable model"],
)
def test_model_that_does_not_answer_is_refused_in_a_line_and_ends_4(stranger, bands, how, message):
    vars(stranger).update(how)
    with pytest.raises(ModelRefused) as raised:
        serve_once(Path("model"), bands)
    assert str(raised.value).startswith("model: ")
    assert str(raised.value).endswith(message)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_status == 4


@pytest.mark.parametrize(
    ("how", "line", "status"),
    [
        (
            {"returncode": -9},
            "model: the process that asks it was killed (SIGKILL), as where memory runs out. Free some, and run again.",
            1,
        ),
        (
            {"returncode": 1, "stderr": "OSError: [Errno 28] No space left on device\n"},
            "model: it cannot be asked: something could not be written (No space left on device). Free some space, and "
            "run again.",
            2,
        ),
        (
            {"returncode": 1, "stderr": "OSError: [Errno 122] Disk quota exceeded\n"},
            "model: it cannot be asked: something could not be written (Disk quota exceeded). Free some space, and run "
            "again.",
            2,
        ),
        (
            {"returncode": 1, "stderr": "Traceback\nMemoryError\n"},
            "model: there was no memory for the process that asks it (MemoryError). Free some, and run again.",
            1,
        ),
        (
            {"returncode": -6, "stderr": "terminate called after throwing an instance of 'std::bad_alloc'\n  what()\n"},
            "model: there was no memory for the process that asks it (what()). Free some, and run again.",
            1,
        ),
    ],
    ids=["killed", "full disk", "quota", "no memory", "no memory in C++"],
)
def test_what_is_none_of_the_models_faults_refuses_no_model(stranger, bands, how, line, status):
    """A run that only failed is tried again by the next night."""
    vars(stranger).update(how)
    with pytest.raises(PipelineError) as raised:
        serve_once(Path("model"), bands)
    assert not isinstance(raised.value, ModelRefused)
    assert (str(raised.value), raised.value.exit_status) == (line, status)


def test_process_that_never_ends_is_refused(monkeypatch, bands):
    def hang(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(serving.subprocess, "run", hang)
    with pytest.raises(ModelRefused, match=r"^model: expected answers to 70 images within 614 s, found none\.$"):
        serve_once(Path("model"), bands)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"encoding": "png", "compression": "GZIP"}], ids=["tensor", "png, gzip"])
def test_good_model_is_asked_from_outside_and_measured(model, tmp_path, options):
    found = serve_once(model, split_of(tmp_path / "asked", **options))
    assert found["examples"] == 70
    assert found["warmup_requests"] == 4
    assert found["litert_disagreements"] == 0
    assert found["litert"]["bytes"] == (model / LITERT_FILE).stat().st_size
    for latency in (found["litert"]["latency_ms"], *found["latency_ms"].values()):
        assert set(latency) == {"1", "64"}
        assert all(milliseconds > 0 for milliseconds in latency.values())


@pytest.mark.slow
def test_bounded_part_is_asked_through_both_signatures(model, bands, monkeypatch):
    monkeypatch.setattr(serving, "MOST_ASKED", 40)
    monkeypatch.setattr(serving, "inference_rows", lambda _: 32)
    assert serve_once(model, bands)["examples"] == 40


@pytest.mark.slow
def test_answers_are_the_same_however_many_images_are_asked_about_at_a_time(model, bands, monkeypatch):
    whole = serve_once(model, bands)
    monkeypatch.setattr(serving, "inference_rows", lambda _: 32)
    parts = serve_once(model, bands)
    for name in ("examples", "litert_disagreements", "bytes", "warmup_requests"):
        assert parts[name] == whole[name]
    assert parts["litert_largest_difference"] < 1e-5
    assert set(parts["latency_ms"]["predict_images"]) == {"1"}, "64 were more than it may ask about"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "saved_model.pb").unlink(), "the model cannot be served: .*SavedModel"),
        (lambda model: (model / LITERT_FILE).unlink(), "expected a portable model"),
        (lambda model: (model / WARMUP_FILE).unlink(), "expected warm-up requests"),
    ],
    ids=["SavedModel", "LiteRT", "warm-up"],
)
def test_model_with_a_part_missing_is_refused(model, bands, damage, message):
    damage(model)
    with pytest.raises(ModelRefused, match=message):
        serve_once(model, bands)


@pytest.mark.slow
def test_portable_model_with_other_answers_is_refused(model, bands, tmp_path):
    other = export_banded_model(tmp_path / "other", bands.shards("test"), bias=1000.0)
    (model / LITERT_FILE).write_bytes((other / LITERT_FILE).read_bytes())
    with pytest.raises(ModelRefused, match=r"at most 0 of 70 images for another class, found 46\."):
        serve_once(model, bands)


@pytest.mark.slow
def test_model_without_a_signature_is_refused(model, bands):
    loaded = tf.saved_model.load(str(model))
    extra = {path: (model / path).read_bytes() for path in (LITERT_FILE, WARMUP_FILE)}
    tf.saved_model.save(loaded, str(model), signatures={"serving_default": loaded.signatures["serving_default"]})
    for path, content in extra.items():
        (model / path).parent.mkdir(exist_ok=True)
        (model / path).write_bytes(content)
    with pytest.raises(ModelRefused, match="found no predict_images"):
        serve_once(model, bands)


def test_fresh_process_ends_with_the_one_that_started_it():
    """A killed run cannot end it, and nobody would wait for its answers."""
    child = (
        "import os\n"
        "from components.infra_validator.client import end_with\n"
        "parent = os.getppid()\n"
        "print('begun', flush=True)\n"
        "end_with(parent)\n"
    )
    starts = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen([sys.executable, "-c", starts, child], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "begun\n"
        parent.kill()
        # The pipe ends when the last who writes to it does.
        assert parent.communicate(timeout=20) == ("", None)
