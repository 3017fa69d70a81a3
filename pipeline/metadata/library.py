"""How the library of ML Metadata reaches the database of an output root: what is written goes through it.

Synopsis:

    connection_to(OutputRoot("output")).HasField("sqlite")      # True
"""

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.errors import BusyError, first_line
from pipeline.metadata.shared import SharedDatabase, own_membership
from pipeline.output_root import OutputRoot

_Sqlite = metadata_store_pb2.SqliteMetadataSourceConfig
_PATIENCE_SECONDS = 30


def connection_to(root: OutputRoot, *, make: bool = True) -> metadata_store_pb2.ConnectionConfig:
    """Returns how ML Metadata is reached; TFX's own function would make the folder, even for a dry run.

    Args:
      root: the output root.
      make: whether a database of sqlite is made where there is none.

    Raises:
      InputError: the output root is in a shared database, of which its file or the password cannot be read, or is a
        copy of one that is.
    """
    own = own_membership(root)
    if own is not None:
        return _to_shared(own.database)
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(root.metadata.resolve())
    connection.sqlite.connection_mode = _Sqlite.READWRITE_OPENCREATE if make else _Sqlite.READWRITE
    return connection


def without_secret(connection: metadata_store_pb2.ConnectionConfig) -> metadata_store_pb2.ConnectionConfig:
    """Returns the same without the password, for what is written down."""
    told = metadata_store_pb2.ConnectionConfig()
    told.CopyFrom(connection)
    if told.HasField("mysql"):
        told.mysql.ClearField("password")
    return told


def make_tables(database: SharedDatabase) -> None:
    """Makes the tables of ML Metadata where there are none; one at a time, for two at once would trip over each other.

    Raises:
      BusyError: it could not be done in time; the next attempt may go well.
      InputError: the server refuses it.
    """
    with database.held("image-pipeline", _PATIENCE_SECONDS):
        if database.rows("SHOW TABLES LIKE 'MLMDEnv'"):
            return
        try:
            metadata_store.MetadataStore(_to_shared(database))
        except RuntimeError as error:
            raise BusyError(f"{database}: the tables could not be made ({first_line(error)}). Try again.") from None


def _to_shared(database: SharedDatabase) -> metadata_store_pb2.ConnectionConfig:
    connection = metadata_store_pb2.ConnectionConfig()
    for name, value in database.arguments().items():
        setattr(connection.mysql, name, value)
    # That asks for a right on the server, beyond those on the database.
    connection.mysql.skip_db_creation = True
    return connection
