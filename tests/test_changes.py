"""What differs between two structures, told once and by path."""

import json

import pytest

from pipeline.metadata.changes import changes
from pipeline.metadata.why import property_changes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "d": 4}}, [("a.b", 1, 3), ("a.c", 2, None), ("a.d", None, 4)]),
        ([1, 3, 4], [1, 2, 3, 4], [("1", None, 2)]),
        ([1, 2, 3], [1, 9, 3], [("1", 2, 9)]),
        ([1, 2, 3], [2, 3], [("0", 1, None)]),
        (
            {"m": [{"class_name": "A", "x": 1}, {"class_name": "B", "x": 1}]},
            {"m": [{"class_name": "N", "x": 0}, {"class_name": "A", "x": 1}, {"class_name": "B", "x": 2}]},
            [("m.0", None, {"class_name": "N", "x": 0}), ("m.2.x", 1, 2)],
        ),
        ({"w": [16, 32]}, {"w": [24, 48]}, [("w.0", 16, 24), ("w.1", 32, 48)]),
        ({"a": []}, {"a": None}, [("a", [], None)]),
    ],
    ids=str,
)
def test_each_change_is_told_once_by_its_path(before, after, expected):
    assert sorted(changes(before, after), key=str) == sorted(expected, key=str)


def test_one_inserted_metric_is_one_line():
    """TFMA keeps the settings of a metric as JSON within JSON."""

    def settings(*names: str) -> dict:
        metrics = [{"class_name": name, "config": json.dumps({"name": name.lower()})} for name in names]
        return {"eval_config": json.dumps({"metrics_specs": [{"metrics": metrics}]})}

    assert property_changes(settings("A", "B", "C"), settings("A", "N", "B", "C")) == [
        "setting eval_config.metrics_specs.0.metrics.1 is new: class_name N, config.name n"
    ]
    assert property_changes(settings("A", "B", "C"), settings("A", "C")) == [
        "setting eval_config.metrics_specs.0.metrics.1 is gone: class_name B, config.name b"
    ]
