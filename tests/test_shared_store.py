"""Several output roots in one database: against a real MariaDB, a process of the tests' own on loopback.

`make store-test` runs these, and fails where there is no `mariadbd` (Debian: mariadb-server-core, and of
mariadb-client-core what it is set up with); `make test` leaves them out, and pytest alone skips them there.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import BusyError, InputError
from pipeline.metadata.labels import label
from pipeline.metadata.library import connection_to, make_tables, without_secret
from pipeline.metadata.runs import list_runs
from pipeline.metadata.shared import (
    PASSWORD,
    PASSWORD_FILE,
    Membership,
    SharedDatabase,
    check_asked,
    join,
    membership,
    note_place,
    of_pipeline,
    of_run,
    without_password,
)
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.run.database import check_database, told_in_a_line
from tests.conftest import ROOT

SECRET = "hush-7f3a"
OWN = Membership(SharedDatabase.of("mysql://ml@db.example/mlmd"), "3f9a2c1b")


# Without a server


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://ml@db.example/mlmd", "mysql://ml@db.example:3306/mlmd"),
        ("mysql://m%40l@[::1]:3307/a%20b", "mysql://m%40l@[::1]:3307/a%20b"),
    ],
)
def test_address_is_told_as_it_is_read(url, told):
    assert str(SharedDatabase.of(url)) == told
    assert SharedDatabase.of(told) == SharedDatabase.of(url)


@pytest.mark.parametrize(
    "url",
    [
        "x.db",
        "http://ml@h/m",
        "mysql://h/m",
        "mysql://ml@h",
        "mysql://ml@h:x/m",
        "mysql://ml@h/a/b",
        "mysql://ml@h/m?a=b",
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match=r"^expected mysql://USER@HOST\[:PORT\]/DATABASE, found '"):
        SharedDatabase.of(url)


@pytest.mark.parametrize(
    "url", [f"mysql://ml:{SECRET}@h/m", f"mysql://ml:{SECRET}/x@h/m", f"mysql:/ml:{SECRET}@h/m", f"ml:{SECRET}@h/m"]
)
def test_password_in_an_address_is_refused_and_told_nowhere(url, tmp_path):
    with pytest.raises(InputError) as raised:
        SharedDatabase.of(url)
    assert SECRET not in str(raised.value)
    assert SECRET not in without_password(f"--set metadata_database={url}")
    command = [
        sys.executable,
        "local_runner.py",
        "--output-root",
        tmp_path / "out",
        "--set",
        f"metadata_database={url}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, SECRET in done.stderr) == (2, "", False)
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_names_are_ones_own_in_a_shared_database_alone():
    assert (of_pipeline("images-28x28x1-10", None), of_run("20261128-1", None)) == ("images-28x28x1-10", "20261128-1")
    assert of_pipeline("images-28x28x1-10", OWN) == "images-28x28x1-10@3f9a2c1b"
    assert of_run("20261128-1", OWN) == "20261128-1-3f9a2c1b"


def test_output_root_has_one_database_for_ever(tmp_path):
    root = OutputRoot(tmp_path)
    check_asked("mysql://ml@h/m", root)
    root.metadata.touch()
    with pytest.raises(
        InputError, match=r"^metadata_database: expected the database that .* has its runs in \(.*metadata\.db\)"
    ):
        check_asked("mysql://ml@h/m", root)
    root.metadata.unlink()
    root.metadata_elsewhere.write_text('database = "mysql://ml@h/m"\nroot = "3f9a2c1b"\n')
    check_asked("mysql://ml@h:3306/m", root)
    check_asked(None, root)
    assert membership(root) == Membership(SharedDatabase.of("mysql://ml@h/m"), "3f9a2c1b")
    with pytest.raises(InputError, match=r"\(mysql://ml@h:3306/m\), found another, mysql://ml@h/other"):
        check_asked("mysql://ml@h/other", root)


def test_copy_of_an_output_root_is_refused_beside_it_and_one_that_was_moved_is_not(tmp_path):
    """Each would settle the other's runs as killed, and tell ML Metadata that its outputs are the other's."""
    root, copy = OutputRoot(tmp_path / "output"), OutputRoot(tmp_path / 'a "copy" \\ é')
    root.path.mkdir()
    dataclasses.replace(OWN, place=str(root.path)).write(root)
    (tmp_path / "link").symlink_to(root.path)
    for path in (root.path, tmp_path / "link"):
        check_asked(None, OutputRoot(path))
    shutil.copytree(root.path, copy.path)
    for write in (lambda: check_asked(None, copy), lambda: join(str(OWN.database), copy), lambda: connection_to(copy)):
        with pytest.raises(InputError) as raised:
            write()
        told = f"{copy}: expected to be the only output root 3f9a2c1b in {OWN.database}, found {root} too"
        assert str(raised.value).startswith(told)
    shutil.rmtree(copy.path)
    root.path.rename(copy.path)
    check_asked(None, copy)
    note_place(copy)
    assert membership(copy) == dataclasses.replace(OWN, place=str(copy.path))
    # Now what lies where it lay before is the copy.
    shutil.copytree(copy.path, root.path)
    with pytest.raises(InputError, match="of which it is a copy"):
        check_asked(None, root)
    check_asked(None, copy)


@pytest.mark.parametrize(
    "text", ["", "database = 3", 'database = "mysql://ml@h/m"', 'database = "x"\nroot = "3f9a2c1b"', "[", 'root="%"']
)
def test_damaged_file_of_membership_is_told(tmp_path, text):
    root = OutputRoot(tmp_path)
    root.metadata_elsewhere.write_text(text)
    with pytest.raises(InputError, match=r"metadata\.toml: expected the database and the id of this output root"):
        Store(root.metadata)


def test_password_comes_from_a_file_or_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD, "of the variable")
    assert OWN.database.arguments()["password"] == "of the variable"
    (tmp_path / "password").write_text(f"{SECRET}\n")
    monkeypatch.setenv(PASSWORD_FILE, str(tmp_path / "password"))
    assert OWN.database.arguments()["password"] == SECRET
    monkeypatch.setenv(PASSWORD_FILE, str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"^PIPELINE_METADATA_PASSWORD_FILE: .*none: cannot be read"):
        OWN.database.arguments()


def test_what_is_written_down_has_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD, SECRET)
    root = OutputRoot(tmp_path)
    root.metadata_elsewhere.write_text(f'database = "{OWN.database}"\nroot = "{OWN.root}"\n')
    connection = connection_to(root)
    assert connection.mysql.password == SECRET
    assert SECRET not in str(without_secret(connection)) and without_secret(connection).mysql.user == "ml"


def test_server_that_is_not_there_is_told_as_something_for_later(monkeypatch):
    monkeypatch.setenv(PASSWORD, SECRET)
    with socket.socket() as probe:
        # Taken, and nobody listens.
        probe.bind(("127.0.0.1", 0))
        database = SharedDatabase.of(f"mysql://ml@127.0.0.1:{probe.getsockname()[1]}/mlmd")
        with pytest.raises(
            BusyError, match=r"^mysql://ml@127\.0\.0\.1:\d+/mlmd: cannot be used now \(.*refused"
        ) as raised:
            database.check()
    assert raised.value.exit_status == 75


@pytest.mark.parametrize(
    "number",
    # MariaDB's manual: max_connections, max_user_connections, a resource's limit, killed by an administrator.
    [1040, 1203, 1226, 1927],
)
def test_limit_of_the_server_is_told_as_something_for_later_and_wrong_rights_are_not(number):
    assert type(OWN.database.refusal(pymysql.OperationalError(number, "of the server."))) is BusyError
    assert type(OWN.database.refusal(pymysql.OperationalError(1045, "Access denied"))) is InputError


def test_server_that_goes_while_the_lock_of_its_tables_is_asked_for_is_told(monkeypatch):
    class Gone:
        def cursor(self):
            raise pymysql.OperationalError(2006, "gone")

        def close(self) -> None:
            pass

    monkeypatch.setattr(pymysql, "connect", lambda **_: Gone())
    with pytest.raises(BusyError, match=r"cannot be used now \(gone\)"), OWN.database.held("image-pipeline", 1):
        pytest.fail("there is no lock")


# With one


def program(name: str) -> str | None:
    """Returns where a program is: Debian has servers where only root's PATH leads."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def lacking() -> str:
    """Returns what there is not of MariaDB's server, and the way to it; "" where nothing is missing."""
    missing = [name for name in ("mariadbd", "mariadb-install-db", "my_print_defaults") if not program(name)]
    packages = "mariadb-server-core mariadb-client-core"
    told = f"no {', '.join(missing)} here (Debian: apt-get install {packages}); make store-test asks for it"
    return told if missing else ""


class Server:
    """A MariaDB of the tests' own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._socket = folder, folder / "s"
        data = [f"--datadir={folder / 'data'}", *(["--user=root"] if os.geteuid() == 0 else [])]
        subprocess.run(
            [program("mariadb-install-db"), "--no-defaults", *data, "--auth-root-authentication-method=normal"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        listens = [f"--socket={self._socket}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [program("mariadbd"), "--no-defaults", *data, *listens, f"--pid-file={folder / 'pid'}"],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("SELECT 1")
                break
            except pymysql.Error:
                assert self.process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
        self.ask(f"CREATE USER ml@'127.0.0.1' IDENTIFIED BY '{SECRET}'")

    def ask(self, query: str) -> list[tuple]:
        """Runs a query as the server's own root."""
        with contextlib.closing(pymysql.connect(unix_socket=str(self._socket), user="root", autocommit=True)) as own:
            cursor = own.cursor()
            cursor.execute(query)
            return list(cursor.fetchall())

    def database(self, name: str, collation: str = "utf8mb4_bin") -> SharedDatabase:
        """Makes a database for the user `ml`."""
        self.ask(f"CREATE DATABASE {name} CHARACTER SET {collation.split('_')[0]} COLLATE {collation}")
        self.ask(f"GRANT ALL ON {name}.* TO ml@'127.0.0.1'")
        return SharedDatabase.of(f"mysql://ml@127.0.0.1:{self.port}/{name}")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The server, for as long as the module needs it."""
    if missing := lacking():
        assert "CI" not in os.environ, missing
        pytest.skip(missing)
    # The path of a socket has at most 107 bytes.
    folder = tmp_path_factory.mktemp("m")
    found = Server(folder)
    yield found
    found.process.terminate()
    found.process.wait(timeout=60)


@pytest.fixture(autouse=True)
def password(monkeypatch) -> None:
    """What the server is asked with, where a test says nothing else."""
    monkeypatch.setenv(PASSWORD, SECRET)


@pytest.mark.store
@pytest.mark.slow
def test_database_that_cannot_be_used_is_told_in_a_line(server, monkeypatch):
    insensitive = server.database("any_case", "latin1_swedish_ci")
    with pytest.raises(
        InputError, match="expected a collation that tells upper from lower case, found latin1_swedish_ci"
    ):
        insensitive.check()
    with pytest.raises(InputError, match=r"/none: the server refuses it \(Access denied"):
        SharedDatabase.of(f"mysql://ml@127.0.0.1:{server.port}/none").check()
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(InputError, match=r"the server refuses it \(Access denied .*\)\. Mend user"):
        insensitive.check()


@pytest.mark.store
@pytest.mark.slow
@pytest.mark.parametrize(("version", "told"), [(9, "an older one, 9"), (11, "a newer one, 11")])
def test_shared_database_of_another_version_is_told_as_that(server, tmp_path, version, told):
    database = server.database(f"version_{version}")
    root = OutputRoot(tmp_path / "root")
    join(str(database), root)
    check_database(connection_to(root))
    server.ask(f"UPDATE version_{version}.MLMDEnv SET schema_version = {version}")
    with pytest.raises(InputError) as raised:
        check_database(connection_to(root))
    assert str(raised.value) == (
        f"{database}: expected version 10 of the schema of ML Metadata, found {told}. Use the version of this project "
        "that wrote it, or another database."
    )
    with pytest.raises(InputError, match=told):
        join(str(database), OutputRoot(tmp_path / "another"))
    assert not (tmp_path / "another").exists()


@pytest.mark.store
@pytest.mark.slow
def test_two_that_begin_at_once_make_the_tables_once(server):
    database = server.database("at_once")
    made = f"from pipeline.metadata.library import *; make_tables(SharedDatabase.of({str(database)!r}))"
    started = [subprocess.Popen([sys.executable, "-c", made], cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert server.ask("SELECT schema_version FROM at_once.MLMDEnv") == [(10,)]


def record(root: OutputRoot, run: str, text: str) -> tuple[int, int]:
    """Records a run with one execution that goes on and one artifact; returns the ids of both."""
    own = membership(root)
    store = metadata_store.MetadataStore(connection_to(root))
    kinds = {name: store.put_context_type(mlmd.ContextType(name=name)) for name in ("pipeline", "pipeline_run", "node")}
    names = {"pipeline": of_pipeline("images", own), "pipeline_run": of_run(run, own)}
    names["node"] = f"{names['pipeline']}.Trainer"
    contexts = [
        store.get_context_by_type_and_name(kind, names[kind]) or mlmd.Context(type_id=number, name=names[kind])
        for kind, number in kinds.items()
    ]
    contexts[1].custom_properties["note"].string_value = text
    contexts[1].custom_properties["settings"].string_value = json.dumps({"output_root": str(root)})
    execution = mlmd.Execution(
        type_id=store.put_execution_type(mlmd.ExecutionType(name="Trainer")), last_known_state=mlmd.Execution.RUNNING
    )
    artifact = mlmd.Artifact(type_id=store.put_artifact_type(mlmd.ArtifactType(name="Model")), uri=str(root.path / "m"))
    event = mlmd.Event(type=mlmd.Event.OUTPUT)
    event.path.steps.add().key = "model"
    number, (made,), _ = store.put_execution(execution, [(artifact, event)], contexts)
    return number, made


@pytest.mark.store
@pytest.mark.slow
def test_store_knows_the_runs_of_its_own_output_root(server, tmp_path):
    text = "é ☃ 😀 Кот \u0081"
    database = server.database("two_roots")
    roots = [OutputRoot(tmp_path / name) for name in ("a", "b")]
    made = []
    for root in roots:
        join(str(database), root)
        # In the same millisecond, of the same pipeline.
        made.append(record(root, "20261128-200000-000", text))
    for root, (execution, artifact) in zip(roots, made, strict=True):
        store = Store(root.metadata)
        assert ([*store.executions], [*store.artifacts]) == ([execution], [artifact])
        (run,) = store.runs()
        assert run.id == f"20261128-200000-000-{membership(root).root}"
        assert run.properties["note"] == text
        assert store.outputs[execution] == [("model", artifact)]
        assert store.executions[execution].node == "Trainer" and store.producers == {artifact: execution}
        # Nobody has the lock: it was killed.
        assert store.executions[execution].state == "interrupted"
    everybody = list_runs(Store(roots[0].metadata, everybody=True))
    assert [found["root"] for found in everybody] == [str(root) for root in reversed(roots)]
    # What one says of its run is read by both clients as it was said.
    store = Store(roots[0].metadata)
    said = label(store, store.runs()[0], roots[0], note=f"{text} again", add=["base"])
    assert said == {"note": f"{text} again", "tags": ["base"]}
    client = metadata_store.MetadataStore(connection_to(roots[0]))
    (context,) = client.get_contexts_by_id([store.runs()[0].number])
    assert context.custom_properties["note"].string_value == f"{text} again"
    assert [run.properties["note"] for run in Store(roots[1].metadata).runs()] == [text]


@pytest.mark.store
@pytest.mark.slow
def test_excerpt_is_a_database_that_ml_metadata_takes(server, tmp_path):
    root, copy = OutputRoot(tmp_path / "root"), OutputRoot(tmp_path / "copy")
    join(str(server.database("excerpt")), root)
    execution, artifact = record(root, "20261128-200000-000", "é")
    copy.path.mkdir()
    check_database(connection_to(copy))
    from pipeline.metadata.excerpt import copy_own

    with contextlib.closing(sqlite3.connect(copy.metadata)) as target:
        copy_own(membership(root), target)
    shared, own = (metadata_store.MetadataStore(connection_to(place)) for place in (root, copy))
    for ask in (
        lambda store: store.get_executions_by_id([execution]),
        lambda store: store.get_artifacts_by_id([artifact]),
        lambda store: store.get_events_by_execution_ids([execution]),
        lambda store: store.get_contexts_by_execution(execution),
        lambda store: store.get_artifact_types(),
    ):
        assert list(map(str, ask(own))) == list(map(str, ask(shared)))


@pytest.mark.store
@pytest.mark.slow
def test_database_that_is_gone_in_the_middle_is_told_in_a_line(tmp_path):
    if missing := lacking():
        pytest.skip(missing)
    (tmp_path / "m").mkdir()
    server = Server(tmp_path / "m")
    try:
        root = OutputRoot(tmp_path / "root")
        join(str(server.database("gone")), root)
        connection = connection_to(root)
        store = metadata_store.MetadataStore(connection)
        server.process.kill()
        server.process.wait()
        with (
            pytest.raises(BusyError, match=r"/gone: the run could not be recorded \(.*try again"),
            told_in_a_line(connection),
        ):
            store.get_artifact_types()
    finally:
        server.process.kill()
        server.process.wait()


class Run:
    """A process of the pipeline on an output root."""

    def __init__(self, root: OutputRoot, data: Path, *more: str) -> None:
        self.root = root
        command = [
            sys.executable,
            "local_runner.py",
            "--preset",
            "smoke",
            "--output-root",
            str(root),
            "--data-dir",
            data,
        ]
        self.log = root.path.with_suffix(f".{time.monotonic_ns()}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*map(str, command), *more], cwd=ROOT, stdout=log, stderr=log)

    @property
    def summary(self) -> dict:
        """What the latest run of the output root tells, {} before its first node."""
        summaries = sorted(self.root.path.glob("runs/*/summary.json"))
        return json.loads(summaries[-1].read_text()) if summaries else {}

    def state_of(self, node: str) -> str:
        """Returns the state of a node as the run tells it."""
        return {entry["id"]: entry["state"] for entry in self.summary.get("nodes", ())}.get(node, "")

    def wait_for(self, node: str, run: str) -> None:
        """Waits until a node of a run other than `run` goes on."""
        deadline = time.monotonic() + 300
        while self.summary.get("run_id") == run or self.state_of(node) != "running":
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def end(self) -> int:
        """Waits for the end, and returns the exit status."""
        return self.process.wait(timeout=600)


def states(server: Server, name: str, root: str) -> dict[str, set[int]]:
    """Returns, for each run of an output root, the states that the server has of its executions."""
    rows = server.ask(
        f"SELECT c.name, e.last_known_state FROM {name}.Execution e JOIN {name}.Association s ON s.execution_id = e.id "
        f"JOIN {name}.Context c ON c.id = s.context_id JOIN {name}.Type t ON t.id = c.type_id "
        f"WHERE t.name = 'pipeline_run' AND c.name LIKE '%-{root}'"
    )
    found: dict[str, set[int]] = {}
    for run, state in rows:
        found.setdefault(run, set()).add(state)
    return found


@pytest.mark.store
@pytest.mark.slow
def test_runs_of_two_output_roots_keep_out_of_each_others_way(server, fashion_mnist, tmp_path, monkeypatch):
    running, canceled = 2, 6
    password = tmp_path / "password"
    password.write_text(SECRET)
    monkeypatch.delenv(PASSWORD)
    monkeypatch.setenv(PASSWORD_FILE, str(password))
    database = server.database("mlmd")
    a, b = (OutputRoot(tmp_path / name / "output") for name in ("a", "b"))
    for root in (a, b):
        root.path.parent.mkdir()
    shared = ("--set", f"metadata_database={database}")

    first = Run(a, fashion_mnist, *shared)
    assert first.end() == 0, first.log.read_text()
    of_a = first.summary["run_id"]

    # Side by side: one that is killed, and one of the other output root, on the same data, under the same name.
    long = Run(b, fashion_mnist, *shared, "--set", "training.epochs=40")
    killed = Run(a, fashion_mnist, "--set", "training.epochs=39")
    killed.wait_for("Trainer", of_a)
    of_killed = killed.summary["run_id"]
    long.wait_for("Trainer", "")
    killed.process.send_signal(signal.SIGKILL)
    killed.end()
    own_b = membership(b).root
    assert running in states(server, "mlmd", membership(a).root)[of_killed]

    # The next one of the first output root settles what was killed, and nothing else.
    third = Run(a, fashion_mnist)
    assert third.end() == 0, third.log.read_text()
    assert long.process.poll() is None and long.state_of("Trainer") == "running", "or nothing was shown"
    assert {node["state"] for node in third.summary["nodes"]} == {"cached"}
    assert states(server, "mlmd", membership(a).root)[of_killed] >= {canceled}
    assert running not in states(server, "mlmd", membership(a).root)[of_killed]
    ((_, of_b),) = states(server, "mlmd", own_b).items()
    assert running in of_b and canceled not in of_b

    assert long.end() in (0, 4), long.log.read_text()
    summary = long.summary
    # What another made is neither its cache nor its baseline, though data, settings and names are the same.
    assert {node["state"] for node in summary["nodes"]} == {"ran"}
    details = {node["id"]: node["detail"] for node in summary["nodes"]}
    assert (details["AcceptedData"], details["BlessedModel"]) == ("none yet", "none yet")
    assert summary["state"] in ("done", "not blessed")

    def answer(root: OutputRoot, *words: str) -> str:
        command = [sys.executable, "-m", "pipeline.metadata", *words, "--output-root", str(root)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout

    runs_of = {root: {run["id"] for run in json.loads(answer(root, "runs", "--json"))} for root in (a, b)}
    assert runs_of == {a: {of_a, of_killed, third.summary["run_id"]}, b: {summary["run_id"]}}
    everybody = json.loads(answer(b, "runs", "--json", "--all-roots"))
    assert {(run["id"], run["root"]) for run in everybody} == {
        (run, str(root)) for root, found in runs_of.items() for run in found
    }
    assert summary["run_id"] in answer(b, "show", "latest")
    lineage = answer(a, "lineage", "latest")
    assert str(a) in lineage and str(b) not in lineage
    model = next(run for run in Store(b.metadata).artifacts.values() if run.type == "Model")
    theirs = [sys.executable, "-m", "pipeline.metadata", "show", f"a{model.id}", "--output-root", str(a)]
    done = subprocess.run(theirs, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and f"artifact a{model.id}: expected" in done.stderr
    forecast = Run(a, fashion_mnist, "--dry-run")
    assert forecast.end() == 0
    assert " would run " not in forecast.log.read_text() and " cached " in forecast.log.read_text()
    assert answer(a, "gc", "--delete", "--keep", "1")
    assert {run["id"] for run in json.loads(answer(b, "runs", "--json"))} == runs_of[b]
    assert all(Path(found.uri).exists() for found in Store(b.metadata).artifacts.values() if found.state == "live")

    for root in (a, b):
        for path in root.path.parent.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in "".join(run.log.read_text() for run in (first, killed, long, third))
    # Nothing that another process could read.
    dump = server.ask("SELECT string_value FROM mlmd.ContextProperty")
    assert not any(SECRET in (value or "") for (value,) in dump)


@pytest.mark.store
@pytest.mark.slow
def test_tables_are_made_again_by_nobody(server):
    database = server.database("twice")
    make_tables(database)
    server.ask("INSERT INTO twice.Type (name, type_kind) VALUES ('kept', 1)")
    make_tables(database)
    assert server.ask("SELECT count(*) FROM twice.Type WHERE name = 'kept'") == [(1,)]
