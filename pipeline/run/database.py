"""The database of ML Metadata of an output root: how it is reached, and whether it is one.

ML Metadata on sqlite has one writer; the lock of the output root sees to that.
"""

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from components.errors import InputError
from pipeline.output_root import OutputRoot


def connection_to(root: OutputRoot) -> metadata_store_pb2.ConnectionConfig:
    """Returns how ML Metadata is reached; TFX's own function would make the folder, even for a dry run."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(root.metadata.resolve())
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return connection


def check_database(connection: metadata_store_pb2.ConnectionConfig) -> None:
    """Opens the database once; it is made where there is none.

    Raises:
      InputError: the file is no database of ML Metadata.
    """
    try:
        with metadata.Metadata(connection):
            pass
    except RuntimeError as error:
        raise InputError(
            f"{connection.sqlite.filename_uri}: expected a database of ML Metadata, found something else "
            f"({str(error).splitlines()[0]}). Move it away, or choose another --output-root."
        ) from error
