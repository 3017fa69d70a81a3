"""The proposal for review: what differs, and what is told where there is none."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.schema_gen.proposal import schema_differences
from pipeline.propose_schema import main
from pipeline.run.code_digest import ROOT

CURATED = (ROOT / "schema" / "fashion_mnist.pbtxt").read_text()


@pytest.fixture
def curated() -> schema_pb2.Schema:
    return text_format.Parse(CURATED, schema_pb2.Schema())


def test_ranges_and_comparators_are_no_difference(curated):
    proposal = schema_pb2.Schema.FromString(curated.SerializeToString())
    for feature in proposal.feature:
        feature.ClearField("skew_comparator")
        if feature.HasField("float_domain"):
            feature.float_domain.max = 1e6
    assert schema_differences(curated, proposal) == []


def test_another_number_of_classes_a_new_and_a_missing_feature_are_told(curated):
    proposal = schema_pb2.Schema.FromString(curated.SerializeToString())
    for feature in proposal.feature:
        if feature.name == "label":
            feature.int_domain.max = 10
    del proposal.feature[-1]
    proposal.feature.add(name="camera", type=schema_pb2.BYTES)
    assert schema_differences(curated, proposal) == [
        "camera: the curated schema says nothing, the data BYTES",
        "image_saturated: the curated schema says FLOAT, the data nothing",
        "label: the curated schema says INT in 0 to 9, the data INT in 0 to 10",
    ]


def test_without_a_run_one_line_says_so_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--output-root", "nowhere"]) == 2
    line = "nowhere/metadata.db: expected a run that inferred a schema, found none. Run 'make run' first.\n"
    assert capsys.readouterr().err == f"propose_schema: {line}"
    assert list(tmp_path.iterdir()) == []
