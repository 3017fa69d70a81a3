"""The environment of the set-up's tools: the caller's, without what steers Python, pip, uv or a compiler.

Each tool is named its target; what is left to the caller is how this machine reaches the world. So of the families of
variables that steer these tools only proxies, certificates, indexes, credentials, timeouts and caches pass (an option
that pip or uv adds tomorrow is out), and everything that belongs to no such family passes.

Synopsis:

    clean({"PIP_USER": "1", "PIP_PROXY": "http://p", "HOME": "/h"})   # {"PIP_PROXY": "http://p", "HOME": "/h"}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.host import home

# pip's options that may pass, and uv's variable for the same: a host with an index, certificates or a proxy of its own
# has told pip, and should not have to say it twice.
PIP_OPTIONS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "cache-dir": "",  # the two caches are no matter of each other
    "no-cache-dir": "",
}
# uv's settings in uv.toml that may pass, and their variables; indexes are read apart.
UV_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "allow-insecure-host": "UV_INSECURE_HOST",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "native-tls": "UV_NATIVE_TLS",
    "system-certs": "UV_SYSTEM_CERTS",
    "cache-dir": "UV_CACHE_DIR",
    "offline": "UV_OFFLINE",
    "concurrent-downloads": "UV_CONCURRENT_DOWNLOADS",
}
UV_VARIABLES = frozenset(
    {*UV_SETTINGS.values(), *PIP_OPTIONS.values()}
    | {"UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NO_CACHE", "UV_REQUEST_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT"}
)
FAMILIES = ("PIP_", "UV_", "PYTHON", "CONDA", "_CONDA", "MAMBA_", "VIRTUAL_ENV", "PIPENV_", "POETRY_", "SETUPTOOLS_")
# PYTHON alone is what node-gyp and others export; the compiler is chosen by the set-up; dpkg and make steer themselves
# by the last ones.
NAMES = (
    *("__PYVENV_LAUNCHER__", "_PYTHON_HOST_PLATFORM", "_PYTHON_SYSCONFIGDATA_NAME", "_PYTHON_PROJECT_BASE"),
    *("DISTUTILS_USE_SDK", "DIST_EXTRA_CONFIG", "ARCHFLAGS", "MACOSX_DEPLOYMENT_TARGET"),
    *("CC", "CXX", "CPP", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "LDCXXSHARED", "AR", "ARFLAGS"),
    *("DPKG_ROOT", "DPKG_ADMINDIR", "DPKG_FORCE", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES"),
    *("KERAS_BACKEND", "TF_USE_LEGACY_KERAS"),
)


def passes(name: str) -> bool:
    """Whether a variable of the caller's reaches the tools."""
    if name.startswith("PIP_"):
        return name.removeprefix("PIP_").lower().replace("_", "-") in PIP_OPTIONS
    if name.startswith("UV_"):
        # Credentials of a named index: UV_INDEX_<NAME>_USERNAME.
        return name in UV_VARIABLES or (name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD")))
    return name == "PYTHON_KEYRING_BACKEND" or not (name in NAMES or name.startswith(FAMILIES))


def clean(environ: Mapping[str, str], own_home: Path | None = None) -> dict[str, str]:
    """What of the caller's environment reaches the tools.

    A user whom neither HOME nor the list of users gives a home (a container's `--user 12345`) has `own_home` for one:
    pip asks for it before it does anything.
    """
    given = {name: value for name, value in environ.items() if passes(name)}
    return {"HOME": str(own_home), **given} if own_home and home() is None else given
