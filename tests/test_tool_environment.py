"""What of the caller's environment and configuration reaches pip, uv, make's programs, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import installers
from scripts.console import Log, StepFailed
from scripts.tool_environment import clean

ROOT = Path(__file__).resolve().parent.parent
STEERING = {
    **dict.fromkeys(
        ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_NO_BINARY", "PIP_PYTHON"), "1"
    ),
    **dict.fromkeys(
        ("UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_NO_BINARY", "UV_EXCLUDE_NEWER"), "1"
    ),
    **dict.fromkeys(
        ("PYTHON", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE"), "1"
    ),
    **dict.fromkeys(("CONDA_PREFIX", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CC", "CXX", "CFLAGS", "MAKEFLAGS"), "1"),
    "PIP_AN_OPTION_OF_TOMORROW": "1",
    "UV_AN_OPTION_OF_TOMORROW": "1",
}
OF_THE_MACHINE = {
    **dict.fromkeys(("HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PATH", "HOME", "TMPDIR"), "1"),
    **dict.fromkeys(("PIP_INDEX_URL", "PIP_CERT", "PIP_PROXY", "PIP_FIND_LINKS", "PIP_DEFAULT_TIMEOUT"), "1"),
    **dict.fromkeys(("UV_DEFAULT_INDEX", "UV_INDEX_WORK_PASSWORD", "UV_CACHE_DIR", "UV_NATIVE_TLS"), "1"),
}


def test_what_steers_the_tools_is_left_out_and_the_way_to_the_world_stays():
    assert clean({**STEERING, **OF_THE_MACHINE}) == OF_THE_MACHINE


def test_user_without_a_home_has_one_for_the_tools(monkeypatch, tmp_path):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert clean({"PATH": "/bin"}, tmp_path) == {"PATH": "/bin", "HOME": str(tmp_path)}
    said = [sys.executable, "-I", "-m", "pip", "cache", "dir"]
    log = Log(tmp_path / "log.txt")
    log.run(said)
    assert str(tmp_path) in log.path.read_text()


def test_home_of_a_user_stays(tmp_path):
    assert clean({"HOME": "/home/somebody"}, tmp_path) == {"HOME": "/home/somebody"}


def test_configuration_of_pip_that_may_pass_is_told_to_both_tools():
    settings = installers.pip_settings(
        {
            ":env:.find-links": "/wheels/a /wheels/b",
            ":env:.target": "/elsewhere",
            "global.cert": "/etc/ssl/ca.crt",
            "global.index-url": "http://index.example/simple",
            "global.extra-index-url": "file:///a/simple\nfile:///b/simple",
            "global.user": "true",
            "install.index-url": "http://install.example/simple",
            "download.index-url": "http://download.example/simple",
        }
    )
    assert installers.for_pip(settings) == {
        "PIP_CERT": "/etc/ssl/ca.crt",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_EXTRA_INDEX_URL": "file:///a/simple file:///b/simple",
        "PIP_FIND_LINKS": "/wheels/a /wheels/b",
        "PIP_INDEX_URL": "http://install.example/simple",
    }
    assert installers.for_uv(settings) == {
        "SSL_CERT_FILE": "/etc/ssl/ca.crt",
        "UV_DEFAULT_INDEX": "http://install.example/simple",
        "UV_FIND_LINKS": "/wheels/a,/wheels/b",
        "UV_INDEX": "file:///a/simple file:///b/simple",
    }


def test_configuration_of_uv_that_may_pass_becomes_variables(tmp_path: Path):
    text = """\
native-tls = true
find-links = ["/wheels/a", "/wheels/b"]
python-preference = "only-system"
[[index]]
name = "work"
url = "http://index.example/simple"
[[index]]
url = "http://first.example/simple"
default = true
[pip]
system = true
target = "/elsewhere"
no-binary = [":all:"]
keyring-provider = "subprocess"
"""
    (tmp_path / "uv.toml").write_text(text)
    assert installers.uv_settings([tmp_path / "none.toml", tmp_path / "uv.toml"]) == {
        "UV_DEFAULT_INDEX": "http://first.example/simple",
        "UV_FIND_LINKS": "/wheels/a,/wheels/b",
        "UV_INDEX": "work=http://index.example/simple",
        "UV_KEYRING_PROVIDER": "subprocess",
        "UV_NATIVE_TLS": "true",
    }
    (tmp_path / "uv.toml").write_text("[pip")
    with pytest.raises(StepFailed, match=r"uv\.toml is not TOML"):
        installers.uv_settings([tmp_path / "uv.toml"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose configuration sends packages elsewhere, and keeps pip quiet about it."""
    for name, text in {
        "pip/pip.conf": "[global]\nuser = true\ntarget = /elsewhere\nquiet = 3\nindex-url = http://index.example/simple\n",
        "uv/uv.toml": 'index-url = "http://of-uv.example/simple"\n[pip]\nsystem = true\n',
    }.items():
        (tmp_path / ".config" / name).parent.mkdir(parents=True)
        (tmp_path / ".config" / name).write_text(text)
    return tmp_path


def test_installers_read_no_configuration_but_know_its_indexes(home: Path):
    python = Path(sys.executable)
    told = installers.installer_environment(python, {**STEERING, "PATH": "/usr/bin:/bin", "HOME": str(home)})
    assert (told["PIP_CONFIG_FILE"], told["UV_NO_CONFIG"]) == ("/dev/null", "1")
    assert told["PIP_INDEX_URL"] == "http://index.example/simple"
    assert told["UV_DEFAULT_INDEX"] == "http://of-uv.example/simple"
    assert told["VIRTUAL_ENV"] == str(python.parent.parent)
    assert not {"PIP_USER", "PIP_TARGET", "UV_SYSTEM_PYTHON", "PYTHONPATH"} & set(told)


def test_configuration_that_pip_cannot_read_is_told(home: Path):
    (home / ".config/pip/pip.conf").write_text("no section\n")
    with pytest.raises(StepFailed, match=r"pip can't read its configuration: .*no section") as failed:
        installers.installer_environment(Path(sys.executable), {"PATH": "/usr/bin:/bin", "HOME": str(home)})
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_one_tool_was_told_of_are_told_to_all(name: str):
    told = {name: "/own.crt", **installers.one_bundle({name: "/own.crt"})}
    assert {told["SSL_CERT_FILE"], told["PIP_CERT"], told["NODE_EXTRA_CA_CERTS"]} == {"/own.crt"}
    assert installers.one_bundle({}) == {}


def test_home_that_cannot_be_written_means_no_cache(tmp_path: Path, monkeypatch):
    assert installers.writable_cache({"HOME": str(tmp_path / "not/made/yet")}) == {}
    # Root may write anywhere.
    monkeypatch.setattr(installers.os, "access", lambda path, mode: not str(path).startswith("/proc"))
    none = {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
    assert installers.writable_cache({"HOME": "/proc/none"}) == none
    assert installers.writable_cache({"HOME": "/proc/none", "UV_CACHE_DIR": "/c"}) == {"PIP_NO_CACHE_DIR": "1"}


def test_home_that_may_not_be_entered_means_no_cache(monkeypatch, shut_home):
    shut_home.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != shut_home)
    assert installers.writable_cache({"HOME": str(shut_home)}) == {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}


# make


@pytest.fixture
def make(tmp_path: Path):
    """Runs a recipe on the Makefile's own variables and gives what it prints."""

    def run(recipe: str, *words: str, **environ: str) -> str:
        makefile = tmp_path / "makefile"
        makefile.write_text(f"include Makefile\nshow:\n\t@{recipe}\n")
        command = ["make", "-s", "-f", str(makefile), "show", *words]
        env = {"PATH": "/usr/bin:/bin", **environ}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_variables_count_on_makes_line_and_not_from_the_environment(make):
    recipe = "echo '$(call given,PYTHON),$(GIVEN_ARGS),$(if $(call given,UPGRADE),--upgrade),$(VENV_PYTHON)'"
    exported = {"PYTHON": "/of/node-gyp", "ARGS": "--of-another", "UPGRADE": "1", "VENV_PYTHON": "/bin/false"}
    assert make(recipe, **exported) == ",,,.venv/bin/python"
    assert make(recipe, "-e", **exported) == ",,,.venv/bin/python"
    assert make(recipe, "PYTHON=python3.12", "ARGS=-x a", "UPGRADE=1", **exported) == (
        "python3.12,-x a,--upgrade,.venv/bin/python"
    )


def test_named_python_reaches_the_shell_as_one_word(make):
    recipe = "printf '[%s]' $(call quoted,$(call given,PYTHON))"
    assert make(recipe, "PYTHON=/opt/My 'Own' Python/bin/python3") == "[/opt/My 'Own' Python/bin/python3]"
    assert make(recipe) == "[]"


def test_programs_that_make_starts_do_not_get_variables_for_another_python(make):
    steering = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTEST_ADDOPTS")
    environ = dict.fromkeys((*steering, "KERAS_BACKEND", "PYTHONUNBUFFERED", "CI", "HTTPS_PROXY"), "1")
    names = {line.partition("=")[0] for line in make("env", **environ).splitlines()}
    assert names & set(environ) == {"PYTHONUNBUFFERED", "CI", "HTTPS_PROXY"}


@pytest.mark.parametrize(
    ("words", "fetched"),
    [
        ([], True),
        (["ARGS=--preset smoke"], True),
        (["ARGS=--data-dir /mine --preset smoke"], False),
        (["ARGS=--config mine.toml"], False),
        (["ARGS=--set data_dir=/mine"], False),
        (["IMAGE_PIPELINE_DATA_DIR=/mine"], False),
    ],
    ids=str,
)
def test_run_on_data_of_ones_own_needs_no_others(words, fetched):
    env = {"PATH": "/usr/bin:/bin"} | dict(word.split("=", 1) for word in words if word.startswith("IMAGE"))
    command = ["make", "-n", "run", *(word for word in words if word.startswith("ARGS"))]
    told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    assert ("scripts.fetch_data" in told) is fetched
    assert "local_runner.py" in told


def test_help_lists_every_target():
    env = {"PATH": "/usr/bin:/bin"}
    told = subprocess.run(["make"], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert [line.split()[1] for line in told.splitlines()] == phony.split()[1:]
