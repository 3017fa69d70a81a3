"""Finds or fetches the Chromium that the browser tests and the screenshots use.

One that is installed is used as it is. On Debian without one, the package of the host's own release, with whatever it
needs that the host lacks, is unpacked into .venv/browser: no root, nothing outside .venv changes, and apt's signatures
are checked. It runs on the host's loader and libraries, through a wrapper that adds the unpacked ones.

Synopsis:

    make browser            # python -m scripts.browser
    find_browser()          # the executable, None where there is none
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.console import Log, Stop, exit_status, only_one, step
from scripts.host_apt import OS_RELEASE, Source, download, host_source, unpack

VENV = Path(__file__).resolve().parent.parent / ".venv"
FOLDER = "browser"
# Chromium without windows: half of the packages that the one with windows needs.
PACKAGE = "chromium-headless-shell"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chromium-headless-shell")
# For tests: no window, no sandbox (root in a container has none to offer), no calls to anyone's servers.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have 64 MB of it, or none
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SAYS_VERSION_SECONDS = 20

# `$0` and not a path, so that the folder can be renamed into its place.
WRAPPER = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="{libraries}"
if [ ! -e /etc/fonts/fonts.conf ]; then
    export FONTCONFIG_FILE="$here/fonts.conf"
fi
exec "$here/{binary}" "$@"
"""
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def version(browser: Path | str) -> str:
    """What `browser --version` says; "" if it doesn't start or isn't one (Ubuntu's package is a stub for a snap)."""
    try:
        command = [browser, "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SAYS_VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = done.stdout.strip()
    return said if done.returncode == 0 and "Chrom" in said else ""


def find_browser(venv: Path = VENV) -> Path | None:
    """The unpacked browser, or the first in PATH that starts."""
    unpacked = venv / FOLDER / "chromium"
    if version(unpacked):
        return unpacked
    found = filter(None, map(shutil.which, NAMES))
    return next((Path(path) for path in found if version(path)), None)


def is_debian(os_release: str) -> bool:
    """Whether this text of /etc/os-release is Debian's own; Ubuntu has Chromium as a snap only."""
    return "ID=debian" in os_release.replace('"', "").splitlines()


def debian_source() -> Source:
    """The host's own release.

    Raises:
      Stop: this is no Debian with a usable apt.
    """
    found = host_source() if OS_RELEASE.is_file() and is_debian(OS_RELEASE.read_text(encoding="utf-8")) else None
    if found is None:
        raise Stop(
            "no Chromium here, and it is fetched through apt on Debian only; install Chromium or Google Chrome so that "
            f"one of {', '.join(NAMES)} is in PATH."
        )
    return found[1]


def library_path(prefix: Path) -> str:
    """The value of LD_LIBRARY_PATH: every folder of shared libraries below `prefix`, by way of `$here`."""
    folders = {path.parent.relative_to(prefix) for path in prefix.rglob("lib*.so.*")}
    folders |= {path.parent.relative_to(prefix) for path in prefix.rglob("lib*.so")}
    return ":".join(
        f"$here/{folder}" for folder in sorted(folders, key=lambda folder: (len(folder.parts), str(folder)))
    )


def write_wrapper(prefix: Path) -> Path:
    """Writes the script that starts the browser unpacked in `prefix`, and its list of fonts; gives the script.

    Raises:
      Stop: the packages hold no browser.
    """
    binaries = [path for path in prefix.glob(f"usr/lib/*/{PACKAGE}") if path.is_file()]
    binaries += [path for path in prefix.glob("usr/lib/*/headless_shell") if path.is_file()]
    if not binaries:
        raise Stop(f"{prefix}: expected the browser of {PACKAGE} below usr/lib, found none.")
    (prefix / "fonts.conf").write_text(FONTS, encoding="utf-8")
    wrapper = prefix / "chromium"
    text = WRAPPER.format(libraries=library_path(prefix), binary=binaries[0].relative_to(prefix))
    wrapper.write_text(text, encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper


def with_dependencies(debs: Iterable[Path], folder: Path, log: Log) -> list[Path]:
    """Adds to `debs`, just downloaded into `folder`, what they need and the host lacks; gives all .deb files."""
    cache = folder / "cache/archives"
    for deb in debs:
        deb.rename(cache / deb.name)  # apt checks it again there and does not fetch it twice
    # Locks are apt's own, for root, and nothing of the host is written here.
    how = ["--download-only", "--no-install-recommends", "--yes", "-o", "Debug::NoLocking=true"]
    log.run(["apt-get", "-q", "-c", folder / "apt.conf", "install", *how, PACKAGE], {"LC_ALL": "C"})
    return sorted(cache.glob("*.deb"))


def fetch(venv: Path, source: Source) -> None:
    """Unpacks the browser into `venv`, under a temporary name first."""
    arriving = venv / f".{FOLDER}-arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    log = Log(venv / "browser.log")
    try:
        with tempfile.TemporaryDirectory(prefix="browser-") as work:
            debs = download([PACKAGE], source, Path(work).resolve(), log)
            unpack(with_dependencies(debs, Path(work).resolve(), log), arriving, log)
        wrapper = write_wrapper(arriving)
        log.run([wrapper, "--version"])
        shutil.rmtree(venv / FOLDER, ignore_errors=True)
        arriving.rename(venv / FOLDER)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def main() -> int:
    if find_browser():
        return 0
    source = debian_source()
    VENV.mkdir(exist_ok=True)
    with only_one(VENV, "browser"):
        if find_browser():
            return 0
        with step(f"browser: {PACKAGE} of {source.suite}, for the tests, into {os.path.relpath(VENV / FOLDER)}"):
            fetch(VENV, source)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("browser", main))
