"""The set-up of the Flink cluster: its lock, its jars, its Java, what it refuses. `make flink-test` starts one."""

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import flink
from scripts.console import Stop

JAR = b"a jar"
LINE = f"org.example:thing:1.0 {hashlib.sha256(JAR).hexdigest()}\n"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "flink.lock"
    path.write_text(f"# comment\n\n{LINE}")
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """The address of a Maven repository with one jar."""
    jar = tmp_path / "mirror/org/example/thing/1.0/thing-1.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(JAR)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "mirror"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_lock_of_the_project_names_beam_flink_and_a_digest_for_each():
    jars = flink.read_lock(flink.LOCK.read_text())
    names = {Path(path).name for path in jars}
    assert {"beam-runners-flink-1.19-2.62.0.jar", "flink-runtime-1.19.0.jar", "slf4j-jdk14-1.7.30.jar"} <= names
    assert len(names) == len(jars) == len(set(jars.values()))


def test_line_of_a_lock_that_is_none_is_named():
    with pytest.raises(Stop, match=r"expected GROUP:ARTIFACT:VERSION SHA256 in each line, found 'a:b:1 abc'"):
        flink.read_lock("a:b:1 abc\n")


def test_jars_are_fetched_once_and_what_does_not_belong_goes(tmp_path, lock, mirror):
    jars = tmp_path / "jars"
    flink.fetch(mirror, jars, lock)
    (jars / "older-0.9.jar").write_bytes(b"")
    flink.fetch("http://127.0.0.1:1/nobody", jars, lock)
    assert {path.name: path.read_bytes() for path in jars.iterdir()} == {"thing-1.0.jar": JAR}
    (jars / "thing-1.0.jar").write_bytes(b"damaged")
    flink.fetch(mirror, jars, lock)
    assert (jars / "thing-1.0.jar").read_bytes() == JAR


def test_jar_of_another_digest_is_refused_and_not_kept(tmp_path, lock, mirror):
    (tmp_path / "mirror/org/example/thing/1.0/thing-1.0.jar").write_bytes(b"another jar")
    with pytest.raises(Stop, match=rf"thing-1\.0\.jar: expected the SHA-256 {hashlib.sha256(JAR).hexdigest()}, found"):
        flink.fetch(mirror, tmp_path / "jars", lock)
    assert not list((tmp_path / "jars").iterdir())


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "no address"])
def test_mirror_that_is_none_is_a_line_with_the_way_out(tmp_path, lock, base):
    with pytest.raises(
        Stop, match=r"cannot be had .* --from, or leave that out, which has mvn bring the jars\.$"
    ) as stopped:
        flink.fetch(base, tmp_path / "jars", lock)
    assert "\n" not in str(stopped.value)


def test_connection_that_is_cut_in_mid_jar_is_tried_again_and_then_a_line(tmp_path, lock):
    asked = []

    class Cut(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(JAR) + 1))
            self.end_headers()
            self.wfile.write(JAR)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.raises(flink.Unavailable, match=r"thing-1\.0\.jar: cannot be had \(IncompleteRead\(5 bytes read"):
            flink.fetch(f"http://127.0.0.1:{server.server_port}", tmp_path / "jars", lock)
        server.shutdown()
    assert len(asked) == 3


def test_jar_that_the_mirror_lacks_is_named(tmp_path, lock, mirror):
    lock.write_text(LINE.replace("thing", "other"))
    with pytest.raises(Stop, match=r"org/example/other/1\.0/other-1\.0\.jar: cannot be had \(HTTP Error 404"):
        flink.fetch(mirror, tmp_path / "jars", lock)


@pytest.fixture
def maven(tmp_path, monkeypatch) -> Path:
    """What an mvn in PATH copies from, as paths in a repository; it keeps its arguments beside them."""
    found = tmp_path / "maven"
    jar = found / "repository/org/example/thing/1.0/thing-1.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(JAR)
    program = found / "mvn"
    program.write_text(f"""#!{sys.executable}
import pathlib, shutil, sys
pathlib.Path({str(found / "arguments")!r}).write_text(" ".join(sys.argv[1:]))
(folder,) = [word.partition("=")[2] for word in sys.argv if word.startswith("-DoutputDirectory=")]
shutil.copytree({str(found / "repository")!r}, folder, dirs_exist_ok=True)
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(found))
    return found


def test_jars_come_by_maven_and_only_those_of_the_lock(tmp_path, lock, maven):
    other = maven / "repository/org/example/other/2.0/other-2.0.jar"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    flink.fetch(None, tmp_path / "jars", lock)
    assert {path.name: path.read_bytes() for path in (tmp_path / "jars").iterdir()} == {"thing-1.0.jar": JAR}
    assert f"-f {flink.POM} dependency:copy-dependencies" in (maven / "arguments").read_text()
    (maven / "mvn").unlink()
    flink.fetch(None, tmp_path / "jars", lock)


def test_jar_of_another_digest_by_maven_is_refused_and_not_kept(tmp_path, lock, maven):
    (maven / "repository/org/example/thing/1.0/thing-1.0.jar").write_bytes(b"another jar")
    with pytest.raises(Stop, match=r"thing-1\.0\.jar: expected the SHA-256 "):
        flink.fetch(None, tmp_path / "jars", lock)
    assert not list((tmp_path / "jars").iterdir())


def test_jar_that_the_pom_does_not_bring_is_named(tmp_path, lock, maven):
    lock.write_text(LINE.replace("thing", "other"))
    with pytest.raises(Stop, match=r"^org/example/other/1\.0/other-1\.0\.jar: expected it of flink\.pom\.xml"):
        flink.fetch(None, tmp_path / "jars", lock)


def test_maven_that_fails_is_a_line_with_its_reason(tmp_path, lock, maven):
    (maven / "mvn").write_text("#!/bin/sh\necho '[ERROR] no such host'\necho '[ERROR] more'\nexit 1\n")
    with pytest.raises(Stop, match=r"^mvn ended with status 1 \(no such host\)\. Install Maven .*--from ADDRESS\"\.$"):
        flink.fetch(None, tmp_path / "jars", lock)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Failed to execute goal: Could not transfer artifact a:b:pom:1 from central", flink.Unavailable),
        ("The build could not read 1 project: Non-parseable POM", Stop),
    ],
)
def test_maven_that_cannot_have_a_jar_is_told_from_one_that_cannot_read_our_file(tmp_path, lock, maven, said, kind):
    (maven / "mvn").write_text(f"#!/bin/sh\necho '[ERROR] {said}'\nexit 1\n")
    with pytest.raises(Stop) as stopped:
        flink.fetch(None, tmp_path / "jars", lock)
    assert type(stopped.value) is kind


def test_machine_without_maven_is_told_both_ways(tmp_path, lock, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Stop, match=r"^expected mvn in PATH, found none\. Install Maven .*--from ADDRESS\"\.$"):
        flink.fetch(None, tmp_path / "jars", lock)


def test_lock_is_remade_from_what_maven_copies(tmp_path, maven, monkeypatch):
    monkeypatch.setattr(flink, "LOCK", tmp_path / "made.lock")
    flink.lock()
    assert (tmp_path / "made.lock").read_text().splitlines(keepends=True)[1:] == [LINE]


def a_java(folder: Path, said: str) -> Path:
    java = folder / "bin/java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    java.chmod(0o755)
    return java


def test_java_of_java_home_goes_before_that_in_path(tmp_path, monkeypatch):
    java = a_java(tmp_path, 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert flink.java() == str(java)
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(java.parent))
    assert flink.java() == str(java)


@pytest.mark.parametrize(
    ("said", "found"), [('openjdk version "21.0.1"', "21"), ('java version "1.8.0_1"', "8"), ("", "no Java")]
)
def test_java_of_another_version_is_a_line(tmp_path, monkeypatch, said, found):
    a_java(tmp_path, said)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(Stop, match=rf"bin/java: expected Java 11 or 17, found {found}\. Install one"):
        flink.java()


def test_machine_without_java_is_told_how_to_have_one(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        Stop, match=r"^expected Java 11 or 17, found none in PATH\. Install one \(Debian: apt-get install"
    ):
        flink.java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(Stop, match="found none in JAVA_HOME"):
        flink.java()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(flink, "RUN", tmp_path)
    monkeypatch.setattr(flink, "NOTED", tmp_path / "processes.json")
    return tmp_path


def test_what_is_ended_is_what_was_noted_and_no_later_process_of_its_number(folder):
    ours, other = (subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2))
    try:
        noted = {
            "ours": (ours.pid, flink.started_at(ours.pid)),
            "another's": (other.pid, "1"),
            "gone": (2**22 + 1, "1"),
        }
        flink.NOTED.write_text(json.dumps(noted))
        assert flink.noted() == {"ours": ours.pid}
        assert flink.down() == ["ours"]
        assert ours.wait(30) < 0
        assert other.poll() is None
        assert flink.down() == []
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_disk_that_is_full_while_a_cluster_starts_leaves_nothing_of_it(folder, monkeypatch):
    write, begin, started = Path.write_text, flink._start, []

    def full(path: Path, text: str, **options) -> int:
        if path.name.startswith("processes.json") and "second" in text:
            write(path, "")
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    def start(*arguments) -> tuple[int, str]:
        started.append(begin(*arguments))
        return started[-1]

    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(flink, "_start", start)
    monkeypatch.setattr(flink, "java", lambda: "java")
    monkeypatch.setattr(flink, "fetch", lambda base: None)
    monkeypatch.setattr(flink, "commands", lambda *_: iter([("first", sleeps, {}), ("second", sleeps, {})]))
    for port in ("REST", "RPC", "JOBS", "ARTIFACTS"):
        # Nobody listens there.
        monkeypatch.setattr(flink, port, 1)
    try:
        with pytest.raises(OSError, match="No space left on device"):
            flink.up(1, 1, None)
        assert [flink.started_at(process) for process, _ in started] == ["", ""]
        assert flink.down() == []
    finally:
        for process, start in started:
            if flink.started_at(process) == start:
                os.kill(process, 9)


def test_cluster_that_is_at_work_is_not_started_again(folder):
    flink.NOTED.write_text(json.dumps({"jobmanager": (os.getpid(), flink.started_at(os.getpid()))}))
    with pytest.raises(Stop, match=r"expected no cluster of this project, found its jobmanager at work\."):
        flink.up(2, 1, None)


def test_each_task_manager_calls_the_pool_beside_it_by_the_same_name(folder):
    (folder / "conf").mkdir()
    commands = {name: command for name, command, _ in flink.commands("java", Path("python"), 2)}
    assert list(commands) == [
        "jobmanager",
        "worker pool 1",
        "taskmanager 1",
        "worker pool 2",
        "taskmanager 2",
        "job server",
    ]
    for number in (1, 2):
        address = f"127.0.0.1{number}"
        assert f"{address}:50000" in commands[f"worker pool {number}"]
        hosts = folder / f"conf/hosts-{number}"
        assert f"-Djdk.net.hosts.file={hosts}" in commands[f"taskmanager {number}"]
        assert f"{address} worker-pool\n" in hosts.read_text()


def test_check_has_what_a_cluster_takes_and_starts_nothing(folder, tmp_path, lock, maven, monkeypatch, capsys):
    java = tmp_path / "java/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(java.parent.parent))
    monkeypatch.setattr(flink, "FLINK", tmp_path / ".flink")
    monkeypatch.setattr(flink, "fetch", functools.partial(flink.fetch, jars=tmp_path / ".flink/jars", lock=lock))
    assert flink.main(["check"]) == 0
    assert f"flink: {java} and the jars of flink.lock are here" in capsys.readouterr().out
    assert (tmp_path / ".flink/jars/thing-1.0.jar").read_bytes() == JAR and flink.noted() == {}
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert flink.main(["check"]) == 69
    assert "flink: expected Java 11 or 17, found none in JAVA_HOME" in capsys.readouterr().err
    # Another jar is no jar that cannot be had.
    monkeypatch.setenv("JAVA_HOME", str(java.parent.parent))
    (tmp_path / ".flink/jars/thing-1.0.jar").unlink()
    (maven / "repository/org/example/thing/1.0/thing-1.0.jar").write_bytes(b"another")
    with pytest.raises(Stop, match=r"thing-1\.0\.jar: expected the SHA-256"):
        flink.main(["check"])


@pytest.mark.parametrize(
    ("status", "made", "ended"),
    [(0, ["lint", "test", "flink-test"], 0), (69, ["lint", "test"], 0), (2, ["lint", "test"], 2)],
    ids=["here", "cannot be had", "broken"],
)
def test_ci_tests_on_a_cluster_where_one_can_be_had_and_says_so_where_not(tmp_path, status, made, ended):
    for name, text in (
        ("bin/make", f'echo "$@" >> {tmp_path}/made'),
        ("project/.venv/bin/python", f"echo first; echo 'flink: the reason' >&2; exit {status}"),
    ):
        program = tmp_path / name
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    ci = tmp_path / "project/.ci/run"
    ci.parent.mkdir()
    ci.write_bytes(Path(flink.ROOT, ".ci/run").read_bytes())
    path = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(ci)], env=path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, (tmp_path / "made").read_text().split()) == (ended, made)
    assert ("ci: no test on a Flink cluster here: flink: the reason\n" in done.stdout) is (status == 69)
    assert ("flink: the reason" in done.stderr) is (status == 2)
