"""TensorBoard's pages on the logs of a real training, in a real browser."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from playwright.sync_api import expect

from scripts.screenshots import SHOW_MS, show_graph, show_profile, show_scalars, tensorboard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def logs(smoke_output: Path) -> Path:
    (folder,) = smoke_output.glob("tensorboard/*")
    return folder


@pytest.fixture(scope="module")
def url(logs: Path) -> Iterator[str]:
    with tensorboard(logs.parent) as address:
        yield address


@pytest.fixture
def page(chromium) -> Iterator:
    page = chromium.new_page(viewport={"width": 1200, "height": 780})
    yield page
    page.close()


@pytest.mark.parametrize("loader", ["true", "false"])
def test_runs_are_called_by_their_run(logs, loader):
    """By either of TensorBoard's loaders: both follow the links."""
    with tensorboard(logs.parent, loader) as address, urllib.request.urlopen(f"{address}data/runs") as answer:
        assert sorted(json.load(answer)) == [f"{logs.name}/train", f"{logs.name}/validation"]
    assert (logs.parent.parent / "runs" / logs.name).is_dir()


def test_curves_of_loss_and_accuracy_show_for_training_and_validation(page, url):
    show_scalars(page, url)
    for name in ("epoch_accuracy", "epoch_loss"):
        card = page.locator("scalar-card").filter(has_text=name)
        for run in ("train", "validation"):
            expect(card).to_contain_text(run, timeout=SHOW_MS)


def test_graph_is_drawn_down_to_the_layers(page, url):
    show_graph(page, url)
    names = " ".join(page.locator("g.node").all_text_contents())
    assert "Malformed GraphDef" not in page.content()
    for layer in ("standardization", "stem", "logits"):
        assert layer in names


def test_profile_shows_the_time_of_steps_that_it_found(page, url):
    text = show_profile(page, url)
    assert "no step marker" not in text.lower()
    (milliseconds,) = re.findall(r"Host Compute Time\s*\(σ = [\d.]+ ms\)\s*([\d.]+) ms", text)
    assert 0.1 < float(milliseconds) < 10_000


def test_graph_in_the_logs_is_the_one_of_the_model(logs):
    (graph,) = [
        tf.compat.v1.GraphDef.FromString(event.graph_def)
        for path in (logs / "train").glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        if event.graph_def
    ]
    operations = {node.op for node in graph.node}
    assert {"Conv2D", "MatMul", "MaxPool"} <= operations
