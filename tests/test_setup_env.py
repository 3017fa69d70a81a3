"""The set-up's decisions and its errors. Nothing is installed here; CI's own start is the test of that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import console, host_apt, lock, private_glibc, setup_env
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


def test_pip_configuration_is_handed_on_to_uv():
    config = """\
:env:.find-links='/wheels/a /wheels/b'
global.cert='/etc/ssl/ca.crt'
global.index-url='http://index.example/simple'
global.extra-index-url='file:///a/simple\\nfile:///b/simple'
install.quiet='1'
user.index-url='http://user.example/simple'
"""
    env = lock.uv_environment(config)
    assert env["UV_DEFAULT_INDEX"] == "http://user.example/simple"
    assert env["UV_INDEX"] == "file:///a/simple file:///b/simple"
    assert env["UV_FIND_LINKS"] == "/wheels/a,/wheels/b"
    assert env["SSL_CERT_FILE"] == "/etc/ssl/ca.crt"
    assert not any("quiet" in name.lower() for name in env)


# errors and statuses


def find_python(named: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **({"PATH": str(path)} if path else {})}
    command = ["/bin/sh", str(ROOT / "scripts/find_python.sh"), named]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def fake_python(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_missing_python_is_one_line_and_status_2():
    answer = find_python("/no/such/python")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "setup: /no/such/python is not a Python that runs; name another one with PYTHON=/path/to/python3.11\n"
    )


@pytest.mark.parametrize("said", ["is Python 3.9, and the TFX packages need 3.11, 3.12 or 3.13", "has no venv module"])
def test_unfit_python_is_one_line_with_its_reason_and_status_2(tmp_path: Path, said: str):
    path = fake_python(tmp_path, "python3", f"echo '{said}'; exit 3")
    answer = find_python(str(path))
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert f"{path} {said};" in answer.stderr


def test_search_passes_over_shims_that_do_not_run_and_unfit_versions(tmp_path: Path):
    fake_python(tmp_path, "python3.11", "exit 127")
    fake_python(tmp_path, "python3.12", "echo is unfit; exit 3")
    fake_python(tmp_path, "python3", "echo /the/fit/one")
    answer = find_python("", tmp_path)
    assert (answer.returncode, answer.stdout) == (0, "/the/fit/one\n")


def test_search_without_any_python_says_what_to_install(tmp_path: Path):
    answer = find_python("", tmp_path)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert "no fit Python in PATH: there is none; install Python 3.11" in answer.stderr


def test_versions_that_are_searched_are_those_that_setup_admits():
    (low, high) = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text()).groups()
    searched = re.search(r"named:-(.*) python3}", (ROOT / "scripts/find_python.sh").read_text()).group(1)
    assert searched.split() == [f"python3.{minor}" for minor in range(int(low), int(high))]
    assert f"(3, {low}) <= sys.version_info[:2] < (3, {high})" in (ROOT / "scripts/find_python.sh").read_text()
    assert f"--python-version 3.{low}" in lock.COMPILE


def test_missing_compiler_is_named_with_what_to_install(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "(no c++ or g++ or clang++ here; Debian, Ubuntu: apt-get install g++)" in setup_env.lacks_for_compiling()
    fake_python(tmp_path, "c++", "exit 0")
    assert "C++ compiler" not in (setup_env.lacks_for_compiling() or "")
    monkeypatch.setenv("CXX", "/no/such/cxx -O2")
    assert "(no /no/such/cxx here;" in setup_env.lacks_for_compiling()


def test_missing_headers_are_named_with_what_to_install(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(setup_env.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: name)
    minor = sys.version_info[1]
    assert f"apt-get install python3.{minor}-dev)" in setup_env.lacks_for_compiling()


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
