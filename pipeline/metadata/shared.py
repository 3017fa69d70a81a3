"""A database of ML Metadata on MySQL or MariaDB that several output roots share: where it is, and what is one's own.

An output root that keeps its runs there has a file, metadata.toml, in the place of metadata.db. It names the database
and gives the output root an id of its own, which the names of its pipelines and runs end with. ML Metadata and TFX look
things up by these names, so that cache, baselines and spans stay within one output root; what has no such name (all
executions, all artifacts of a type) is asked of `Store`, which holds the rows of one output root. The password is in no
setting and no record: PIPELINE_METADATA_PASSWORD_FILE names a file with it, or PIPELINE_METADATA_PASSWORD has it.

Synopsis:

    SharedDatabase.of("mysql://ml@db.example/mlmd").port          # 3306
    of_pipeline("fashion_mnist-28x28x1-10", None)                 # as it is: a database of the output root's own
    of_pipeline("fashion_mnist-28x28x1-10", Membership(SharedDatabase.of("mysql://ml@h/m"), "3f9a2c1b"))
"""

import contextlib
import dataclasses
import os
import re
import secrets
import tomllib
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.errors import BusyError, InputError
from models.files import write_text
from pipeline.output_root import OutputRoot

PASSWORD, PASSWORD_FILE = "PIPELINE_METADATA_PASSWORD", "PIPELINE_METADATA_PASSWORD_FILE"
SCHEMA_VERSION = 10
_PORT = 3306
_PATIENCE_SECONDS = 10
_FORM = "mysql://USER@HOST[:PORT]/DATABASE"
_COLLATION = (
    "SELECT COALESCE((SELECT table_collation FROM information_schema.tables WHERE table_schema = DATABASE() "
    "AND table_name = 'Context'), @@collation_database)"
)
# Of the server: unreachable, too many connections (of all, of one user) or queries, gone, ended by its keeper, a lock
# that another had. Later it may go well.
_TRANSIENT = {1040, 1053, 1203, 1205, 1213, 1226, 1927, 2002, 2003, 2006, 2013}


@dataclasses.dataclass(frozen=True)
class SharedDatabase:
    """Where a database is; `str` gives its address, which holds no password."""

    user: str
    host: str
    port: int
    name: str

    @classmethod
    def of(cls, url: str) -> "SharedDatabase":
        """Returns what an address names.

        Raises:
          InputError: it is none, or holds a password.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            found = cls(
                user=urllib.parse.unquote(parts.username or ""),
                host=parts.hostname or "",
                port=parts.port or _PORT,
                name=urllib.parse.unquote(parts.path.removeprefix("/")),
            )
        except ValueError:
            raise InputError(f"expected {_FORM}, found {without_password(url)!r}.") from None
        if parts.password is not None:
            raise InputError(
                f"expected {_FORM}, found a password in it, which every run would record. Put it into a file that "
                f"{PASSWORD_FILE} names, or into {PASSWORD}."
            )
        more = parts.scheme != "mysql" or parts.query or parts.fragment or "/" in found.name
        if more or not (found.user and found.host and found.name):
            raise InputError(f"expected {_FORM}, found {without_password(url)!r}.")
        return found

    def __str__(self) -> str:
        user, name = (urllib.parse.quote(text, safe="") for text in (self.user, self.name))
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mysql://{user}@{host}:{self.port}/{name}"

    def arguments(self) -> dict[str, Any]:
        """Returns host, port, user, password and database, as clients take them.

        Raises:
          InputError: the file that has the password cannot be read.
        """
        # For the one client "localhost" is a socket's name, for the other a host's.
        host = "127.0.0.1" if self.host == "localhost" else self.host
        return {
            "host": host,
            "port": self.port,
            "user": self.user,
            "password": _password(),
            "database": self.name,
        }

    def connect(self) -> Any:
        """Returns a connection of PyMySQL's whose texts are bytes in UTF-8.

        ML Metadata's client says nothing of the encoding of what it writes, which the server then takes for Latin-1.

        Raises:
          BusyError: it cannot be reached now.
          InputError: the server refuses it.
        """
        import pymysql

        try:
            return pymysql.connect(
                **self.arguments(),
                charset="latin1",
                use_unicode=False,
                connect_timeout=_PATIENCE_SECONDS,
                read_timeout=6 * _PATIENCE_SECONDS,
                write_timeout=6 * _PATIENCE_SECONDS,
            )
        except pymysql.Error as error:
            raise self.refusal(error) from None

    def check(self) -> None:
        """Raises InputError or BusyError where no output root can keep its runs there; an empty database will do."""
        # Of the tables, where there are some: they keep what the database was made with.
        ((found,),) = self.rows(_COLLATION)
        collation = found.decode()
        if not collation.endswith("_bin"):
            raise InputError(
                f"{self}: expected a collation that tells upper from lower case, found {collation}: two data sets "
                f"would be one. ALTER DATABASE {self.name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, before "
                "there are tables in it."
            )
        if not self.rows("SHOW TABLES LIKE 'MLMDEnv'"):
            return
        versions = [version for (version,) in self.rows("SELECT schema_version FROM MLMDEnv")]
        if versions and versions != [SCHEMA_VERSION]:
            older = "an older" if versions[0] < SCHEMA_VERSION else "a newer"
            raise InputError(
                f"{self}: expected version {SCHEMA_VERSION} of the schema of ML Metadata, found {older} one, "
                f"{versions[0]}. Use the version of this project that wrote it, or another database."
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Callable[[str, tuple], list[tuple]]]:
        """Yields what runs a query and returns its rows; all are written, or none. Others wait meanwhile.

        Raises:
          BusyError: the database cannot be reached now, or another writer was before.
          InputError: it refuses that.
        """
        import pymysql

        with contextlib.closing(self.connect()) as connection:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")

                    def execute(query: str, parameters: tuple) -> list[tuple]:
                        # As ML Metadata would write them: UTF-8 that the server takes for Latin-1.
                        marks = ["CONVERT(%s USING latin1)" if isinstance(p, str) else "%s" for p in parameters]
                        asked = [text.encode() if isinstance(text, str) else text for text in parameters]
                        cursor.execute(query.replace("?", "{}").format(*marks), asked)
                        return list(cursor.fetchall())

                    yield execute
                connection.commit()
            except pymysql.Error as error:
                raise self.refusal(error) from None

    def rows(self, query: str, parameters: tuple = ()) -> list[tuple]:
        """Returns all rows of one query; texts are bytes.

        Raises:
          BusyError: the database cannot be reached now.
          InputError: it refuses that.
        """
        import pymysql

        with self.connect() as connection:
            try:
                with connection.cursor() as cursor:
                    cursor.execute(query, parameters)
                    return list(cursor.fetchall())
            except pymysql.Error as error:
                raise self.refusal(error) from None

    @contextlib.contextmanager
    def held(self, name: str, seconds: int) -> Iterator[None]:
        """Keeps others out of a block of the same name.

        Raises:
          BusyError: another has it for longer than that, or the database cannot be reached now.
          InputError: it refuses that.
        """
        import pymysql

        with contextlib.closing(self.connect()) as connection:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT GET_LOCK(%s, %s)", (f"{name} {self.name}"[:64], seconds))
                    found = cursor.fetchone()
            except pymysql.Error as error:
                raise self.refusal(error) from None
            if found != (1,):
                raise BusyError(f"{self}: another has been making its tables for {seconds} s. Try again.")
            # It ends with the connection.
            yield

    def refusal(self, error: Exception) -> InputError:
        """Returns what to say of an error of PyMySQL's."""
        number, *text = error.args or (0,)
        told = str(text[0] if text else error).strip().rstrip(".")
        if number in _TRANSIENT:
            return BusyError(f"{self}: cannot be used now ({told}). See that the server runs, and try again.")
        return InputError(
            f"{self}: the server refuses it ({told}). Mend user, rights or name; {PASSWORD_FILE} names the file with "
            f"the password, or {PASSWORD} has it."
        )


@dataclasses.dataclass(frozen=True)
class Membership:
    """Which shared database an output root keeps its runs in, its id there, and where it lay in its last run."""

    database: SharedDatabase
    root: str
    place: str = ""

    def write(self, root: OutputRoot) -> None:
        """Writes metadata.toml."""
        # Which imports this module, and pydantic, which no answer needs.
        from pipeline.settings import as_toml

        text = "# Where the runs of this output root are, and where it is: that which lies elsewhere is a copy.\n"
        text += f'database = "{self.database}"\nroot = "{self.root}"\nplace = {as_toml(self.place)}\n'
        write_text(root.metadata_elsewhere, text)


def membership(root: OutputRoot) -> Membership | None:
    """Returns what metadata.toml says, None where the output root has a database of its own, or none yet.

    Raises:
      InputError: it cannot be read.
    """
    path = root.metadata_elsewhere
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        found = Membership(SharedDatabase.of(str(said["database"])), said["root"], str(said.get("place", "")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        # Nothing is wrong with the file: told as any that one may not read.
        raise
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path}: expected the database and the id of this output root, found something else ({error}). Restore it "
            "from a copy: without the id its runs are lost."
        ) from None
    if not re.fullmatch("[0-9a-f]{8}", str(found.root)):
        raise InputError(f"{path}: root: expected eight hexadecimal digits, found {found.root!r}. Restore it.")
    return found


def own_membership(root: OutputRoot) -> Membership | None:
    """Returns the same for whoever writes: of an output root and its copy each would take the other's runs for its own.

    Raises:
      InputError: it cannot be read, or the output root is one of two with the same id.
    """
    own = membership(root)
    if own is None or not own.place:
        return own
    other = OutputRoot(own.place)
    try:
        theirs = None if other.path.samefile(root.path) else membership(other)
    except (OSError, InputError):
        # It is gone, for this one was moved; or nobody can say what is there.
        theirs = None
    if theirs and theirs.root == own.root:
        raise InputError(
            f"{root}: expected to be the only output root {own.root} in {own.database}, found {other} too, of which it "
            f"is a copy. Use that one, or delete {root.metadata_elsewhere}: the copy begins anew then."
        )
    return own


def note_place(root: OutputRoot) -> None:
    """Keeps in metadata.toml, if there is one, where the output root lies by now. The caller holds its lock."""
    own, place = membership(root), str(root.path.resolve())
    if own and own.place != place:
        dataclasses.replace(own, place=place).write(root)


def check_asked(url: str | None, root: OutputRoot) -> None:
    """Raises InputError where an output root has its runs elsewhere than the setting `metadata_database` says.

    So it does where it is a copy of another one that is there.
    """
    known = own_membership(root)
    if url is None or (known and known.database == SharedDatabase.of(url)):
        return
    if known or root.metadata.exists():
        raise InputError(
            f"metadata_database: expected the database that {root} has its runs in "
            f"({known.database if known else root.metadata}), found another, {url}. Leave it out, or choose another "
            "--output-root."
        )


def join(url: str | None, root: OutputRoot) -> None:
    """Has an output root keep its runs where the setting `metadata_database` says, from its first run on.

    Raises:
      BusyError: the database cannot be reached now, or another run has the output root.
      InputError: the database cannot be used, or the runs are elsewhere.
    """
    check_asked(url, root)
    if url is None or membership(root):
        return
    from pipeline.metadata.library import make_tables

    database = SharedDatabase.of(url)
    database.check()
    make_tables(database)
    try:
        root.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: cannot be written ({error.strerror}). Choose another --output-root.") from None
    with root.lock("Wait for it, or choose another --output-root."):
        check_asked(url, root)
        if membership(root) is None:
            Membership(database, secrets.token_hex(4), str(root.path.resolve())).write(root)


def of_pipeline(name: str, own: Membership | None) -> str:
    """Returns the name of a pipeline in ML Metadata, and so what the names of its nodes begin with."""
    return f"{name}@{own.root}" if own else name


def of_run(run_id: str, own: Membership | None) -> str:
    """Returns the id of a run: another output root may begin one in the same millisecond."""
    return f"{run_id}-{own.root}" if own else run_id


def without_password(text: str) -> str:
    """Returns a text without the password of an address in it, if there is one."""
    return re.sub(r":(?!//)[^@\s]*@", ":***@", text)


def _password() -> str:
    file = os.environ.get(PASSWORD_FILE)
    if not file:
        return os.environ.get(PASSWORD, "")
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no text in UTF-8"
        raise InputError(f"{PASSWORD_FILE}: {file}: cannot be read ({why}). Name a file with the password.") from None
