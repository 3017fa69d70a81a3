"""Writes out the schema that the latest run inferred from its training split, for review against the curated one.

python -m pipeline.propose_schema [--output-root output]       # writes schema/proposal.pbtxt
"""

import argparse
import sys
from pathlib import Path

from components.errors import InputError
from models.features import SCHEMA_FILE
from models.files import write_text
from pipeline.output_root import DEFAULT, OutputRoot
from pipeline.project import command, curated, is_installed, program

PROPOSAL = Path("proposal.pbtxt") if is_installed() else Path("schema", "proposal.pbtxt")
_RUN = command("'make run'", "'pipeline-run'")


def latest_proposal(metadata_path: Path) -> Path:
    """Returns the schema file that SchemaGen proposed last.

    Raises:
      InputError: no run has come as far as SchemaGen.
    """
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    if metadata_path.is_file():
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(metadata_path)
        connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        schemas = metadata_store.MetadataStore(connection).get_artifacts_by_type("Schema")
        proposals = [Path(schema.uri, SCHEMA_FILE) for schema in schemas if "/proposal/" in schema.uri]
        if existing := [path for path in proposals if path.is_file()]:
            return existing[-1]
    raise InputError(f"{metadata_path}: expected a run that inferred a schema, found none. Run {_RUN} first.")


def main(argv: list[str] | None = None) -> int:
    """Writes the proposal and tells where it differs; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.propose_schema"), description=__doc__.splitlines()[0]
    )
    parser.add_argument("--output-root", type=Path, default=DEFAULT, help="of the run (output/)")
    arguments = parser.parse_args(argv)
    try:
        proposal = latest_proposal(OutputRoot(arguments.output_root).metadata).read_text()
    except InputError as error:
        print(f"propose_schema: {error}", file=sys.stderr)
        return error.exit_status
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from components.schema_gen.proposal import schema_differences

    PROPOSAL.parent.mkdir(exist_ok=True)
    write_text(PROPOSAL, proposal)
    schemas = [
        text_format.Parse(text, schema_pb2.Schema()) for text in (curated("fashion_mnist.pbtxt").read_text(), proposal)
    ]
    for line in schema_differences(*schemas) or ["the curated schema says of the data what they say themselves"]:
        print(line)
    # What is packed with an installed program is not for editing.
    target = "schema.pbtxt beside your data" if is_installed() else "schema/fashion_mnist.pbtxt"
    print(f"wrote {PROPOSAL}: review it, and carry over to {target} what should hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
