"""What a notebook or a script asks, on a recorded database and on a real run."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.recorded_runs import RecordedRuns
from components.errors import InputError
from models.pictures import read_pictures
from pipeline.client import Client
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
