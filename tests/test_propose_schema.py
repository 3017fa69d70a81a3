"""The proposal for review: what differs, and what is told where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tensorflow_metadata.proto.v0 import schema_pb2

from components.schema_gen.differences import schema_differences
from pipeline.output_root import OutputRoot
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


def record_run(root: OutputRoot, run: str, data: dict, proposal: schema_pb2.Schema) -> None:
    """Puts a run into ML Metadata of which no more is known than its data and the schema that it proposed."""
    folder = root.artifacts / "SchemaGen" / "proposal" / run
    folder.mkdir(parents=True)
    (folder / "schema.pbtxt").write_text(text_format.MessageToString(proposal))
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(root.metadata)
    store = metadata_store.MetadataStore(connection)
    text = mlmd.STRING
    context = mlmd.Context(
        type_id=store.put_context_type(
            mlmd.ContextType(name="pipeline_run", properties={"x": text}), can_add_fields=True
        ),
        name=run,
    )
    context.custom_properties["name"].string_value = data["name"]
    context.custom_properties["data"].string_value = json.dumps(data)
    execution = mlmd.Execution(
        type_id=store.put_execution_type(mlmd.ExecutionType(name="ImageSchemaGen")),
        last_known_state=mlmd.Execution.COMPLETE,
    )
    artifact = mlmd.Artifact(type_id=store.put_artifact_type(mlmd.ArtifactType(name="Schema")), uri=str(folder))
    event = mlmd.Event(type=mlmd.Event.OUTPUT, path={"steps": [{"key": "proposal"}, {"index": 0}]})
    store.put_execution(execution, [(artifact, event)], [context])


@pytest.fixture
def output(tmp_path, curated) -> Path:
    """An output root with a run on Fashion-MNIST and a later one on data with a schema of their own, 5 classes each."""
    root = OutputRoot(tmp_path / "output")
    root.path.mkdir()
    for name, is_fashion_mnist in (("fashion_mnist", True), ("letters", False)):
        data = tmp_path / name
        data.mkdir()
        proposal = schema_pb2.Schema.FromString(curated.SerializeToString())
        next(feature for feature in proposal.feature if feature.name == "label").int_domain.max = 4
        kept = {"name": name, "folder": str(data), "is_fashion_mnist": is_fashion_mnist}
        record_run(root, name, kept, proposal)
    return root.path


def test_proposal_is_written_beside_the_curated_schema_of_its_data_and_compared_with_that(
    output, tmp_path, capsys, monkeypatch, curated
):
    monkeypatch.chdir(tmp_path)
    own = schema_pb2.Schema.FromString(curated.SerializeToString())
    del own.feature[-1]
    letters = tmp_path / "letters"
    (letters / "schema.pbtxt").write_text(text_format.MessageToString(own))
    assert main(["--output-root", "output"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [
        "image_saturated: the curated schema says nothing, the data FLOAT",
        "label: the curated schema says INT in 0 to 9, the data INT in 0 to 4",
    ]
    assert told[2].startswith(f"wrote {letters / 'proposal.pbtxt'} (run letters): review it, and carry over to")
    written = text_format.Parse((letters / "proposal.pbtxt").read_text(), schema_pb2.Schema())
    assert next(feature for feature in written.feature if feature.name == "label").int_domain.max == 4
    # An earlier proposal may be replaced, a file of the user's not.
    assert main(["--output-root", "output"]) == 0
    (letters / "proposal.pbtxt").write_text("mine")
    capsys.readouterr()
    assert main(["--output-root", "output"]) == 2
    assert "proposal.pbtxt: expected none, or an earlier proposal, found a file" in capsys.readouterr().err
    assert (letters / "proposal.pbtxt").read_text() == "mine"


def test_name_run_and_file_are_chosen(output, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "elsewhere.pbtxt"
    assert main(["--name", "fashion_mnist", "--output", str(target), "--output-root", "output"]) == 0
    told = capsys.readouterr().out
    assert "label: the curated schema says INT in 0 to 9, the data INT in 0 to 4" in told
    assert f"wrote {target} (run fashion_mnist)" in told
    assert "fashion_mnist.pbtxt what should hold" in told
    target.unlink()
    assert main(["fashion", "--output", str(target), "--output-root", "output"]) == 0
    assert "Inferred by run fashion_mnist from fashion_mnist" in target.read_text()
    capsys.readouterr()
    for arguments, error in (
        (["--name", "digits"], "expected a run on digits that inferred a schema, found none; there are runs on "),
        (["letters", "--name", "digits"], "run letters: expected one on the data set digits, found letters"),
        (["--output", str(tmp_path)], "expected the name of a file, found a folder"),
        (["--output", str(tmp_path / "no" / "x")], "cannot be written (No such file or directory)"),
    ):
        assert main([*arguments, "--output-root", "output"]) == 2
        line = capsys.readouterr().err
        assert error in line and line.count("\n") == 1


def test_where_there_is_no_curated_schema_that_is_told(output, tmp_path, capsys):
    assert main(["--output-root", str(output)]) == 0
    told = capsys.readouterr().out
    assert f"{tmp_path / 'letters' / 'schema.pbtxt'}: there is no curated schema of these data" in told
    assert "to make it the curated one, copy it to" in told


def test_without_a_run_one_line_says_so_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--output-root", "nowhere"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("propose_schema: nowhere/metadata.db: expected a database of ML Metadata, found none.")
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_differences_are_told_without_tensorflow_and_what_it_prints():
    code = "import sys, components.schema_gen.differences; print(*sys.modules.keys() & {'tensorflow', 'tfx'})"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (asked.stdout, asked.stderr) == ("\n", "")
