"""Finds or fetches the Chromium that the browser tests and the screenshots use.

One that is installed is used as it is: Chromium, Chrome or Edge in PATH or at macOS's usual places, or what playwright
has installed. On Debian without one, the package of the host's own release, with whatever it needs that the host lacks,
is unpacked into .venv/browser: no root, nothing outside .venv changes, and apt's signatures are checked. It runs on the
host's loader and libraries, through a wrapper that adds the unpacked ones. Elsewhere, or where that fails, playwright
fetches its own into .venv/playwright. With neither, `--for-tests` says so in one line and that the tests that need a
browser are skipped; in CI that is a failure.

Synopsis:

    make browser            # python -m scripts.browser
    find_browser()          # the executable, None where there is none
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from scripts.console import Log, StepFailed, Stop, exit_status, only_one, step
from scripts.host_apt import OS_RELEASE, Source, download, host_source, unpack
from scripts.installers import one_bundle

VENV = Path(__file__).resolve().parent.parent / ".venv"
FOLDER = "browser"
# Chromium without windows: half of the packages that the one with windows needs.
PACKAGE = "chromium-headless-shell"
NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chromium-headless-shell"),
    *("microsoft-edge", "microsoft-edge-stable"),
)
APPLICATIONS = ("Google Chrome", "Chromium", "Microsoft Edge")
# Playwright's folder of browsers, by sys.platform; PLAYWRIGHT_BROWSERS_PATH names another.
PLAYWRIGHT = {"linux": ".cache/ms-playwright", "darwin": "Library/Caches/ms-playwright"}
PLAYWRIGHT_BINARIES = (
    *("chromium*-*/chrome-*/chrome", "chromium*-*/chrome-*/headless_shell"),
    *("chromium*-*/chrome-headless-shell-*/chrome-headless-shell", "chromium*-*/chrome-mac*/*.app/Contents/MacOS/*"),
)
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
    return said if done.returncode == 0 and ("Chrom" in said or "Edge" in said) else ""


def places(venv: Path, environ: Mapping[str, str], platform: str) -> Iterator[Path]:
    """Where a browser may be, the first choice first: unpacked here, in PATH, macOS's applications, playwright's."""
    yield venv / FOLDER / "chromium"
    yield from map(Path, filter(None, (shutil.which(name, path=environ.get("PATH")) for name in NAMES)))
    home = Path(environ.get("HOME", "/"))
    if platform == "darwin":
        for folder in (Path("/Applications"), home / "Applications"):
            yield from (folder / f"{name}.app/Contents/MacOS/{name}" for name in APPLICATIONS)
    named = environ.get("PLAYWRIGHT_BROWSERS_PATH", "")
    for folder in (venv / "playwright", Path(named) if named else home / PLAYWRIGHT.get(platform, ".cache")):
        if not os.path.isdir(folder):  # noqa: PTH112 - pathlib's raises below a HOME that may not be entered
            continue
        # The newest last: chromium-1200 after chromium-1148.
        found = (path for pattern in PLAYWRIGHT_BINARIES for path in folder.glob(pattern))
        yield from sorted(found, key=lambda path: (len(path.parts), str(path)), reverse=True)


def find_browser(
    venv: Path = VENV, environ: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path | None:
    """The first browser that starts."""
    found = filter(os.path.isfile, places(venv, environ, platform))
    return next((path for path in found if version(path)), None)


def in_ci(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a run of continuous integration, in which nothing may be skipped."""
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")


def reason_to_skip(venv: Path = VENV, environ: Mapping[str, str] = os.environ) -> str | None:
    """Why the tests that need a browser can't run here; None where they can, or must."""
    if in_ci(environ) or find_browser(venv, environ):
        return None
    return "no Chromium, Chrome or Edge here, and none could be fetched: 'make browser' says why"


def is_debian(os_release: str) -> bool:
    """Whether this text of /etc/os-release is Debian's own; Ubuntu has Chromium as a snap only."""
    return "ID=debian" in os_release.replace('"', "").splitlines()


def debian_source() -> Source | None:
    """The host's own release; None where this is no Debian with a usable apt."""
    found = host_source() if OS_RELEASE.is_file() and is_debian(OS_RELEASE.read_text(encoding="utf-8")) else None
    return found[1] if found else None


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


def fetch_by_playwright(venv: Path) -> None:
    """Has playwright fetch its own Chromium into `venv`.

    Raises:
      StepFailed: it could not, or what it fetched does not start.
    """
    log = Log(venv / "browser.log")
    into = {"PLAYWRIGHT_BROWSERS_PATH": str(venv / "playwright"), **one_bundle(os.environ)}
    log.run([venv / "bin/python", "-m", "playwright", "install", "--only-shell", "chromium"], into)
    if find_browser(venv, {**os.environ, **into}) is None:
        reason = (
            "playwright's Chromium does not start, it lacks libraries of the system: run "
            f"{venv / 'bin/python'} -m playwright install-deps chromium, as root"
        )
        raise StepFailed(reason, reason=reason)


def bring(venv: Path) -> list[str]:
    """Brings a browser in one of the two ways; gives why not, empty if it has."""
    ways = {}
    if source := debian_source():
        name = f"browser: {PACKAGE} of {source.suite}, for the tests, into {os.path.relpath(venv / FOLDER)}"
        ways[name] = lambda: fetch(venv, source)
    if (venv / "bin/python").exists():
        name = f"browser: playwright's Chromium, for the tests, into {os.path.relpath(venv / 'playwright')}"
        ways[name] = lambda: fetch_by_playwright(venv)
    reasons = []
    for name, way in ways.items():
        try:
            with step(name):
                way()
            return []
        except (StepFailed, Stop) as failed:
            reasons.append(getattr(failed, "reason", "") or str(failed))
    return reasons or ["no way to fetch one here"]


def main(argv: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.browser", description="Finds or fetches a Chromium.")
    parser.add_argument("--for-tests", action="store_true", help="without one, go on (outside of CI)")
    args = parser.parse_args(argv)
    if find_browser():
        return 0
    VENV.mkdir(exist_ok=True)
    with only_one(VENV, "browser"):
        if find_browser():
            return 0
        reasons = "; ".join(dict.fromkeys(bring(VENV)))
    if not reasons:
        return 0
    told = f"no Chromium here, and none could be fetched ({reasons})"
    how = f"install Chromium, Google Chrome or Edge so that one of {', '.join(NAMES)} is in PATH"
    if args.for_tests and not in_ci():
        print(f"browser: {told}: the tests that need one are skipped; {how}.", flush=True)
        return 0
    raise Stop(f"{told}; {how}.")


if __name__ == "__main__":
    sys.exit(exit_status("browser", lambda: main(sys.argv[1:])))
