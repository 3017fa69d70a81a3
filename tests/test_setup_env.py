"""The set-up's decisions and its errors. Nothing is installed here; CI's own start is the test of that."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import console, doctor, host, host_apt, lock, private_glibc, setup_env
from scripts.host_apt import Source

ROOT = Path(__file__).resolve().parent.parent
MIRROR = "http://mirror.example/debian"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with every input of the environment's digest."""
    for name in setup_env.INPUTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "python").write_text("an interpreter")
    return tmp_path


# apt's sources


def test_deb822_source_keeps_mirror_components_and_key():
    text = f"""\
# written by the installer
Types: deb deb-src
# a comment between fields
URIs: {MIRROR}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""
    key = "/usr/share/keyrings/archive.gpg"
    assert host_apt.parse_deb822(text) == [
        Source((MIRROR,), "bookworm", ("main", "contrib"), key),
        Source((MIRROR,), "bookworm-updates", ("main", "contrib"), key),
        Source(("http://mirror.example/security",), "bookworm-security", ("main",), ""),
    ]


def test_deb822_embedded_key_survives_into_the_private_stanza():
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEZ\n -----END PGP PUBLIC KEY BLOCK-----"
    text = f"Types: deb\nURIs: {MIRROR}\nSuites: jammy\nComponents: main\nSigned-By:{key}\n"
    (source,) = host_apt.parse_deb822(text)
    assert source.signed_by == key
    assert host_apt.parse_deb822(source.stanza()) == [source]


@pytest.mark.parametrize("line", ["Enabled: no", "enabled: False", "Types: deb-src"])
def test_deb822_disabled_and_source_only_stanzas_are_left_out(line: str):
    fields = {"Types": "Types: deb", "Enabled": "Enabled: yes"}
    fields[line.partition(":")[0].capitalize()] = line
    text = "\n".join([*fields.values(), f"URIs: {MIRROR}", "Suites: bookworm", "Components: main"])
    assert host_apt.parse_deb822(text) == []


def test_one_line_sources_with_and_without_options():
    text = f"""\
# deb {MIRROR} disabled main
deb {MIRROR} bookworm main contrib  # the main one
deb [arch=amd64 signed-by=/a.gpg,/b.gpg] {MIRROR} bookworm-updates main
deb-src {MIRROR} bookworm main
deb cdrom:[Debian]/ bookworm main
deb
"""
    sources = host_apt.parse_one_line(text)
    assert sources[:2] == [
        Source((MIRROR,), "bookworm", ("main", "contrib"), ""),
        Source((MIRROR,), "bookworm-updates", ("main",), "/a.gpg /b.gpg"),
    ]
    assert all(not uri.startswith("http") for source in sources[2:] for uri in source.uris)


def test_chosen_source_is_the_release_itself_on_a_mirror():
    disc = Source(("cdrom:[Debian]/",), "bookworm", ("main",))
    updates = Source((MIRROR,), "bookworm-updates", ("main",))
    third_party = Source(("http://other.example",), "nodistro", ("main",))
    release = Source(("cdrom:[x]/", MIRROR), "bookworm", ("main",), "/key.gpg")
    chosen = host_apt.choose([disc, updates, third_party, release], "bookworm")
    assert chosen == Source((MIRROR,), "bookworm", ("main",), "/key.gpg")
    assert host_apt.choose([disc, updates, third_party], "bookworm") is None
    by_rank = Source((MIRROR,), "oldstable", ("main",))
    assert host_apt.choose([by_rank], "bookworm") == by_rank


def test_host_source_reads_both_kinds_of_files_and_ignores_disabled_ones(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(host_apt.shutil, "which", lambda name: f"/usr/bin/{name}")
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    assert host_apt.host_source(tmp_path, release) is None
    (folder / "a.sources.disabled").write_text("Types: deb\nURIs: http://no\nSuites: bookworm\nComponents: main\n")
    (folder / "z.sources").write_text(f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main\n")
    assert host_apt.host_source(tmp_path, release) == ("bookworm", Source((MIRROR,), "bookworm", ("main",)))
    (tmp_path / "sources.list").write_text("deb http://first.example bookworm main\n")
    assert host_apt.host_source(tmp_path, release)[1].uris == ("http://first.example",)


def test_files_of_apts_that_are_odd_or_gone_hide_no_other(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(host_apt.shutil, "which", lambda name: f"/usr/bin/{name}")
    release, folder = tmp_path / "os-release", tmp_path / "sources.list.d"
    release.write_bytes(b"# S\xfcd\nVERSION_CODENAME=bookworm\n")
    folder.mkdir()
    (folder / "a.list").write_bytes(b"# Spiegel S\xfcd\n")
    (folder / "b.sources").symlink_to("gone")
    (folder / "c.list").mkdir()
    (folder / "z.sources").write_text(f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main\n")
    assert host_apt.host_source(tmp_path, release) == ("bookworm", Source((MIRROR,), "bookworm", ("main",)))


def test_doctor_passes_over_what_was_interrupted_while_it_was_unpacked(tmp_path: Path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, metadata in (("half-1.0", None), ("whole-2.0", "Name: Whole\nVersion: 2.0\n")):
        (packages / f"{name}.dist-info").mkdir(parents=True)
        if metadata:
            (packages / f"{name}.dist-info" / "METADATA").write_text(metadata)
    assert doctor.versions(tmp_path) == {"whole": "2.0"}


def test_what_the_system_refuses_doctor_is_a_line(monkeypatch, capsys):
    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/home/x")

    monkeypatch.setattr("scripts.browser.find_browser", refuse)
    monkeypatch.delitem(sys.modules, "scripts.doctor")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("scripts.doctor", run_name="__main__")
    assert (ended.value.code, capsys.readouterr().err) == (1, "doctor: /home/x: Permission denied\n")


def test_private_apt_configuration_refuses_unsigned_archives():
    for setting in ("AllowUnauthenticated", "AllowInsecureRepositories", "AllowDowngradeToInsecureRepositories"):
        assert f'{setting} "false";' in host_apt.CONFIG


# the C library


@pytest.mark.parametrize(
    ("text", "needed"),
    [("glibc 2.31", True), ("glibc 2.36", True), ("glibc 2.38", True), ("glibc 2.39", False), ("glibc 2.41", False)],
)
def test_private_glibc_is_for_hosts_before_2_39(text: str, needed: bool):
    assert private_glibc.needed_on(private_glibc.parse_version(text)) is needed


def test_private_glibc_is_not_for_hosts_without_glibc():
    assert not private_glibc.needed_on(None)


def test_donor_changes_the_suite_and_nothing_of_the_mirror():
    host = Source((MIRROR,), "bookworm", ("main", "contrib"), "/key.gpg")
    assert private_glibc.donor(("bookworm", host), (2, 36)) == Source((MIRROR,), "trixie", ("main",), "/key.gpg")


@pytest.mark.parametrize("found", [None, ("buster", Source((MIRROR,), "buster", ("main",)))])
def test_host_without_a_donor_is_told_what_would_work(found):
    with pytest.raises(
        console.Stop, match=r"need glibc 2\.39 and this host has 2\.34; .*Debian 13, Ubuntu 24\.04"
    ) as stop:
        private_glibc.donor(found, (2, 34))
    assert "\n" not in str(stop.value)


# the stamp


def test_digest_changes_with_each_input_the_place_the_interpreter_and_the_glibc(tree: Path):
    def digest(glibc=(2, 36)) -> str:
        return setup_env.digest(tree, tree / "python", glibc)

    first = digest()
    assert digest() == first
    assert digest(None) != first
    (tree / "other").write_text("an interpreter")
    assert setup_env.digest(tree, tree / "other", (2, 36)) != first
    for name in setup_env.INPUTS:
        path = tree / name
        path.write_text("changed")
        assert digest() != first, name
        path.write_text(name)
        assert digest() == first, name
    (tree / "python").write_text("an upgraded interpreter")
    assert digest() != first


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", '{"digest": "x"}', '{"interpreter": "/nowhere", "digest": "x"}']
)
def test_environment_with_no_or_a_damaged_stamp_is_not_complete(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / setup_env.STAMP).write_text(content)
    assert not setup_env.is_complete(setup_env.read_stamp(tmp_path))


def test_stamp_is_read_back(tmp_path: Path):
    setup_env.write_stamp(tmp_path, {"digest": "d", "interpreter": "p"})
    assert setup_env.read_stamp(tmp_path) == {"digest": "d", "interpreter": "p"}
    assert [path.name for path in tmp_path.iterdir()] == [setup_env.STAMP]


def test_every_input_of_the_stamp_exists():
    assert [name for name in setup_env.INPUTS if not (ROOT / name).is_file()] == []


# the lock


def test_lock_pins_and_hashes_everything_and_names_no_address():
    text = (ROOT / "requirements.lock").read_text()
    names = re.findall(r"^([a-z0-9][\w.-]*)==\S+", text, flags=re.MULTILINE)
    assert len(names) > 200
    for name in set(names):
        assert "--hash=sha256:" in lock.entries(text, [name]), name
    assert re.search(r"://|--index|--find-links|^-e", text, flags=re.MULTILINE) is None


def test_lock_has_the_tools_and_the_direct_dependencies():
    text = (ROOT / "requirements.lock").read_text()
    lock.entries(text, setup_env.TOOLS)
    declared = re.findall(r'^    "([a-z][\w-]*)[^"]*",', (ROOT / "setup.py").read_text(), flags=re.MULTILINE)
    assert "tfx" in declared
    lock.entries(text, declared)


def test_lock_entries_are_taken_whole_and_by_their_full_name():
    pip = "pip==1 \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n    # via x\n"
    text = f"# header\n{pip}pip-tools==2 \\\n    --hash=sha256:c\n"
    assert lock.entries(text, ["pip"]) == pip
    forked = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:a\na==2 \\\n    --hash=sha256:b\n"
    assert lock.entries(forked, ["a"]) == forked
    with pytest.raises(KeyError, match="uv"):
        lock.entries(text, ["uv"])


# errors and statuses


@pytest.fixture
def fit_host(monkeypatch, tmp_path: Path):
    """A host that lacks nothing, and no environment yet."""
    monkeypatch.setattr(host, "says", lambda *words: "" if words == ("unfit",) else f"get {' '.join(words[1:])}")
    monkeypatch.setattr(host, "lacking", dict)
    monkeypatch.setattr(private_glibc, "host_version", lambda: (2, 41))
    monkeypatch.setattr(setup_env, "VENV", tmp_path / ".venv")


def test_host_that_lacks_nothing_is_taken(fit_host):
    assert setup_env.preflight() is None


def test_all_that_is_lacking_is_told_at_once_with_one_command(fit_host, monkeypatch):
    lacks = {"compiler": "a C++ compiler", "headers": "Python's headers"}
    monkeypatch.setattr(host, "lacking", lambda: lacks)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    line = f"lacks a C\\+\\+ compiler and Python's headers; run: get {version} compiler headers"
    with pytest.raises(console.Stop, match=line):
        setup_env.preflight()


def test_system_without_wheels_is_refused_before_anything_else(fit_host, monkeypatch):
    monkeypatch.setattr(host, "says", lambda *words: "no wheels for Linux on arm64")
    monkeypatch.setattr(host, "lacking", lambda: pytest.fail("asked for more"))
    with pytest.raises(console.Stop, match=r"^no wheels for Linux on arm64\.$"):
        setup_env.preflight()


@pytest.mark.skipif(sys.platform != "linux", reason="musl is a C library of Linux")
def test_python_on_musl_is_refused(fit_host, monkeypatch):
    monkeypatch.setattr(private_glibc, "host_version", lambda: None)
    with pytest.raises(console.Stop, match="no wheels for musl"):
        setup_env.preflight()


def test_folder_that_no_environment_can_lie_in_is_refused(fit_host, monkeypatch):
    monkeypatch.setattr(setup_env, "ROOT", Path("/data/a:b"))
    with pytest.raises(console.Stop, match=r"^/data/a:b: a virtual environment can't lie below a folder with ':'"):
        setup_env.preflight()


def test_disk_without_the_room_is_told_before_the_download(fit_host, monkeypatch):
    usage = setup_env.shutil.disk_usage("/")._replace(free=1_500_000_000)
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(console.Stop, match=r"1\.5 GB are free on this disk, the environment takes 5 GB"):
        setup_env.preflight()


def test_environment_whose_making_failed_has_no_stamp(fit_host, monkeypatch, tmp_path: Path):
    venv = tmp_path / ".venv"
    venv.mkdir()
    setup_env.write_stamp(venv, {"digest": "d", "interpreter": "p"})
    with pytest.raises(console.StepFailed):
        setup_env.build(venv, "/bin/false", None)
    assert setup_env.read_stamp(venv) == {}
    assert (venv / "setup.log").is_file()


def test_tools_start_without_what_steers_them(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    log = console.Log(tmp_path / "log")
    log.run([sys.executable, "-c", "import os; print(*os.environ)"], {"PIP_NO_INDEX": "1"})
    names = (tmp_path / "log").read_text().split()
    assert {"HTTPS_PROXY", "PIP_NO_INDEX"} <= set(names)
    assert not {"PIP_TARGET", "PYTHONPATH"} & set(names)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("error: failed to write x: No space left on device (os error 28)", "the disk is full: make room"),
        ("ERROR: Could not install packages due to an OSError: [Errno 122] Disk quota exceeded", "the disk is full"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] x", "in SSL_CERT_FILE (or PIP_CERT)"),
        ("error: client error (Connect): invalid peer certificate: UnknownIssuer", "in SSL_CERT_FILE (or PIP_CERT)"),
        ("E: Certificate verification failed: The certificate is NOT trusted.", "in SSL_CERT_FILE (or PIP_CERT)"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "the network was not reachable"),
        ("error: dns error: failed to lookup address information", "the network was not reachable"),
        ("Error: getaddrinfo ENOTFOUND cdn.example", "the network was not reachable"),
        ("error: Failed to initialize cache: Read-only file system (os error 30)", "a read-only file system"),
    ],
)
def test_failure_of_the_machine_is_one_line_with_what_to_do(tmp_path: Path, said: str, told: str, capsys):
    log = console.Log(tmp_path / "log")
    script = f"print({said!r}); raise SystemExit(1)"

    def main() -> None:
        log.run([sys.executable, "-S", "-c", script])

    assert console.exit_status("setup", main) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert error.endswith(f" said is in {tmp_path / 'log'}.\n")


def test_refusal_of_the_system_is_one_line(tmp_path: Path, capsys):
    def main() -> None:
        (tmp_path / "file").touch()
        (tmp_path / "file/folder").mkdir()

    assert console.exit_status("setup", main) == 1
    assert capsys.readouterr().err == f"setup: {tmp_path / 'file/folder'}: Not a directory\n"


def test_failed_tool_shows_the_end_of_its_output_and_the_log(tmp_path: Path):
    log = console.Log(tmp_path / "log")
    log.run([sys.executable, "-c", "print('fine')"])
    code = "for i in range(100): print('line', i)\nraise SystemExit(7)"
    with pytest.raises(console.StepFailed) as failed:
        log.run([sys.executable, "-c", code])
    message = str(failed.value)
    assert "exited with status 7" in message
    assert "line 99" in message and "line 84\n" not in message
    assert str(tmp_path / "log") in message
    assert failed.value.reason == "line 99"
    assert "fine" in (tmp_path / "log").read_text()


def test_reason_of_a_failed_apt_is_its_first_error():
    output = ["Get:1 ...", "E: Failed to fetch x", "E: Some index files failed to download.", ""]
    assert console.telling_line(output) == "E: Failed to fetch x"
    output = ["Downloading ...", "Error: getaddrinfo ENOTFOUND x", "Failed to install", "at ChildProcess (x.js:1)"]
    assert console.telling_line(output) == "Error: getaddrinfo ENOTFOUND x"
    assert console.telling_line(["Traceback ...", "OSError: x", ""]) == "OSError: x"
    assert console.telling_line([]) == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [(console.Stop("why"), 2), (console.StepFailed("why", ""), 1), (KeyboardInterrupt(), 130)],
)
def test_failures_become_statuses_without_a_traceback(error: BaseException, status: int, capsys):
    def main() -> int:
        raise error

    assert console.exit_status("setup", main) == status
    assert capsys.readouterr().err.startswith("setup: ")


def test_second_run_waits_for_the_children_of_a_killed_first_one(tmp_path: Path):
    first = (
        "import subprocess, sys, os, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from scripts.console import Log, only_one\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "with only_one(folder, 'first'):\n"
        "    Log(folder / 'log').run(['sh', '-c', 'kill -9 $PPID; sleep 1; touch done'], {})\n"
    )
    killed = subprocess.run([sys.executable, "-c", first, ROOT, tmp_path], cwd=tmp_path, check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "done").exists()
    with console.only_one(tmp_path, "second"):
        assert (tmp_path / "done").exists()
