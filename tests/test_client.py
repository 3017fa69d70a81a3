"""What a notebook or a script asks, on a recorded database and on a real run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recorded_runs import RecordedRuns
from components.errors import InputError
from models.pictures import read_pictures
from pipeline.client import Client
from pipeline.metadata.artifacts import RunArtifacts
from pipeline.metadata.store import Store
from pipeline.run.code_digest import ROOT


@pytest.mark.slow
def test_client_gives_examples_statistics_predictions_and_model_of_the_latest_run(smoke_output):
    client = Client(smoke_output)
    run = client.run()
    assert run.id == client.runs()[0]["id"]
    assert run.examples.counts == run.summary["data"]["splits"]
    assert run.statistics["test"].num_examples == 1000
    assert float(run.predictions.right.mean()) == run.summary["metrics"]["test_accuracy"]
    ((position, image, label),) = read_pictures(run.examples, "test", {7})
    assert (position, image.shape, image.dtype) == (7, (28, 28, 1), np.uint8)
    assert label == run.predictions.label[7]
    assert (run.model / "saved_model.pb").is_file()
    served = client.served("fashion_mnist.smoke")
    assert (served / "saved_model.pb").read_bytes() == (run.model / "saved_model.pb").read_bytes()


def test_run_that_made_nothing_of_it_has_none_of_it(tmp_path):
    runs = RecordedRuns(tmp_path)
    runs.add("20260101-000000-000", failed="ExampleGen")
    run = Client(tmp_path).run()
    assert (run.examples, run.statistics, run.predictions, run.model) == (None, None, None, None)
    assert run.summary["failure"]["node"] == "ExampleGen"


def test_run_of_a_refused_span_has_no_model_and_no_anomalies_of_what_the_gate_asked_and_compared_with(tmp_path):
    runs = RecordedRuns(tmp_path, in_spans=True, warm_start=True)
    runs.add("20260101-000000-000", span=1)
    folder = Path(
        Store(tmp_path / "metadata.db").artifacts[runs.artifacts["20260101-000000-000"]["Exporter.model"]].uri
    )
    (folder / "Format-Serving").mkdir()
    (folder / "Format-Serving" / "saved_model.pb").write_bytes(b"")
    runs.add("20260102-000000-000", changed="ExampleGen", span=2, failed="DataGate")
    assert Client(tmp_path).run("20260101").model == folder / "Format-Serving"
    assert Client(tmp_path).run("20260102").model is None
    store = Store(tmp_path / "metadata.db")
    artifacts = RunArtifacts(store, store.find_run("20260102"))
    assert (artifacts.number("DataBlessing"), artifacts.number("Model")) == (None, None)
    own = runs.artifacts["20260102-000000-000"]
    assert artifacts.number("ExampleStatistics") == own["StatisticsGen.statistics"]


def test_run_whose_training_failed_has_no_model_of_what_it_began_with(tmp_path):
    runs = RecordedRuns(tmp_path, in_spans=True, warm_start=True)
    runs.add("20260101-000000-000", span=1)
    runs.add("20260102-000000-000", changed="ExampleGen", span=2, failed="Trainer")
    store = Store(tmp_path / "metadata.db")
    assert RunArtifacts(store, store.find_run("20260102")).number("Model") is None


def test_served_model_that_is_not_there_names_those_that_are(tmp_path):
    RecordedRuns(tmp_path)
    (tmp_path / "serving" / "letters" / "5").mkdir(parents=True)
    client = Client(tmp_path)
    assert client.served("letters") == tmp_path / "serving" / "letters" / "5"
    with pytest.raises(InputError, match=r"digits: expected a served model, found none; there are letters\.$"):
        client.served("digits")


def test_client_imports_no_tensorflow():
    script = "import pipeline.client, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"tensorflow", "tfx", "keras", "apache_beam"}
