"""What pip and uv are told of this machine: by variables alone, whatever their configuration files hold.

The files are read here. Indexes, proxies, certificates and the like become variables, for both tools, whichever of them
was told; the rest (`user = true` or `target=` in pip.conf, `system = true` in uv.toml) ends here, as the tools are told
to read no file.

Synopsis:

    for_uv(pip_settings({"global.cert": "/own.crt", "global.user": "true"}))     # {"SSL_CERT_FILE": "/own.crt"}
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.console import StepFailed, telling_line
from scripts.tool_environment import PIP_OPTIONS, UV_SETTINGS, clean

# pip as venv brings it knows no command for this that a `quiet` in its configuration does not silence.
READ_PIP = """\
import json
from pip._internal.configuration import Configuration
found = Configuration(isolated=False)
found.load()
flat = {}
for key, value in found.items():
    flat.update(value if isinstance(value, dict) else {key: value})
print(json.dumps(flat))
"""


def pip_settings(configuration: Mapping[str, str]) -> dict[str, str]:
    """What may pass of pip's configuration (`global.cert` to value); for `install` goes before for all."""
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for key, value in configuration.items():
            where, _, name = key.rpartition(".")
            name = name.lower().replace("_", "-")
            if where == section and name in PIP_OPTIONS:
                found[name] = " ".join(str(value).split())
    return found


def for_pip(settings: Mapping[str, str]) -> dict[str, str]:
    """pip's settings as its variables."""
    variables = {f"PIP_{name.replace('-', '_').upper()}": value for name, value in settings.items()}
    return {**variables, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def for_uv(settings: Mapping[str, str]) -> dict[str, str]:
    """pip's settings as the variables that tell uv the same."""
    variables = {PIP_OPTIONS[name]: value for name, value in settings.items() if PIP_OPTIONS[name]}
    if "UV_FIND_LINKS" in variables:
        variables["UV_FIND_LINKS"] = ",".join(variables["UV_FIND_LINKS"].split())
    if variables.get("UV_KEYRING_PROVIDER") not in (None, "subprocess", "disabled"):
        del variables["UV_KEYRING_PROVIDER"]  # pip has ways of asking that uv has not
    return variables


def uv_settings(files: Iterable[Path]) -> dict[str, str]:
    """What may pass of uv's configuration files as variables; the later file wins.

    Raises:
      StepFailed: one is no TOML.
    """
    variables: dict[str, str] = {}
    for path in files:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError:
            continue
        except ValueError as error:
            raise StepFailed(f"{path} is not TOML ({error}); mend it or take it away.", reason=str(error)) from error
        indexes: dict[str, list[str]] = {}
        for index in content.get("index", []):
            name = "UV_DEFAULT_INDEX" if index.get("default") else "UV_INDEX"
            indexes.setdefault(name, []).append("=".join(filter(None, (index.get("name"), index["url"]))))
        variables |= {name: " ".join(urls) for name, urls in indexes.items()}
        for name, value in {**content.get("pip", {}), **content}.items():
            if name in UV_SETTINGS:
                apart = "," if name == "find-links" else " "
                told = apart.join(map(str, value)) if isinstance(value, list) else value
                variables[UV_SETTINGS[name]] = str(told).lower() if isinstance(told, bool) else str(told)
    return variables


def uv_files(environ: Mapping[str, str]) -> list[Path]:
    """The configuration files that uv reads: the system's, the user's, and one that is named alone."""
    if named := environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    home = environ.get("HOME", "/")
    system = [Path(folder, "uv/uv.toml") for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    user = Path(environ.get("XDG_CONFIG_HOME") or Path(home, ".config"), "uv/uv.toml")
    return [Path("/etc/uv/uv.toml"), *system, user]


def one_bundle(environ: Mapping[str, str]) -> dict[str, str]:
    """The certificates that one of the tools was told of, told to the others."""
    names = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    told = next((environ[name] for name in names if environ.get(name)), None)
    same = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
    return {name: told for name in same if told and not environ.get(name)}


def writable_cache(environ: Mapping[str, str]) -> dict[str, str]:
    """What keeps uv and pip from failing where the home folder is none or can't be written."""
    home = environ.get("HOME") or "/nonexistent"
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(home, ".cache"))
    # That of pathlib raises below a folder that may not be entered: sudo and containers may leave HOME at root's.
    existing = next(folder for folder in (cache, *cache.absolute().parents) if os.path.exists(folder))  # noqa: PTH110
    if os.access(existing, os.W_OK | os.X_OK):
        return {}
    none = {"PIP_NO_CACHE_DIR": "1"} if "PIP_CACHE_DIR" not in environ else {}
    return none | ({"UV_NO_CACHE": "1"} if "UV_CACHE_DIR" not in environ else {})


def installer_environment(python: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of pip and uv, which install into the environment that `python` is of.

    Raises:
      StepFailed: the configuration of pip or uv can't be read.
    """
    base = clean(environ)
    reading = base | {name: value for name, value in environ.items() if name == "PIP_CONFIG_FILE"}
    command = [python, "-I", "-c", READ_PIP]
    # -I keeps Python's own variables out and leaves pip its.
    done = subprocess.run(command, env=reading, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = telling_line(done.stderr.splitlines())
        raise StepFailed(f"pip can't read its configuration: {reason}", reason=reason)
    settings = pip_settings(json.loads(done.stdout))
    # What the caller has set for uv itself goes first, then uv's files, then what pip was told.
    told = {**base, **for_pip(settings), **{**for_uv(settings), **uv_settings(uv_files(environ)), **base}}
    told |= one_bundle(told)
    told |= writable_cache(told)
    # pip takes the best match of all indexes, uv the first index that has the name: a local index with other versions
    # would hide the locked one. The hashes make pip's way as safe.
    fixed = {"UV_NO_CONFIG": "1", "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never"}
    return {**told, **fixed, "VIRTUAL_ENV": str(python.parent.parent)}
