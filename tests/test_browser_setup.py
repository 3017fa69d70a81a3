"""Which browser the tests get, and how it is started. Fetching it is tested by `make test` itself, which needs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts import browser, console
from scripts.host_apt import Source

DEBIAN = 'NAME="Debian GNU/Linux"\nVERSION_CODENAME=bookworm\nID=debian\n'
UBUNTU = "NAME=Ubuntu\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n"


@pytest.fixture
def bare_host(monkeypatch, tmp_path: Path) -> Path:
    """An empty folder as the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """What `dpkg -x` makes of the packages, with a script in place of the browser."""
    prefix = tmp_path / "browser"
    for name in ("usr/lib/x86/libflac.so.12", "usr/lib/x86/pulseaudio/libpulsecommon.so", "lib/x86/libdbus.so.3"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).touch()
    executable(prefix / "usr/lib/chromium" / browser.PACKAGE, 'echo "$LD_LIBRARY_PATH"; echo "$@"')
    return prefix


def executable(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_browser_in_path_is_taken_if_it_starts(bare_host: Path, tmp_path: Path):
    assert browser.find_browser(tmp_path) is None
    executable(bare_host / "chromium-browser", "echo 'install it: snap install chromium' >&2; exit 1")
    assert browser.find_browser(tmp_path) is None
    installed = executable(bare_host / "google-chrome", "echo Google Chrome 150.0")
    assert browser.find_browser(tmp_path) == installed


def test_unpacked_browser_comes_before_one_in_path_while_it_starts(bare_host: Path, tmp_path: Path):
    installed = executable(bare_host / "chromium", "echo Chromium 150.0")
    unpacked = executable(tmp_path / "browser/chromium", "echo Chromium 149.0")
    assert browser.find_browser(tmp_path) == unpacked
    executable(unpacked, "exit 127")
    assert browser.find_browser(tmp_path) == installed


def test_wrapper_puts_the_unpacked_libraries_in_place_of_the_callers(unpacked: Path, tmp_path: Path):
    browser.write_wrapper(unpacked)
    moved = tmp_path / "moved"
    unpacked.rename(moved)
    env = {**os.environ, "LD_LIBRARY_PATH": "/of/the/caller"}
    answer = subprocess.run([moved / "chromium", "a b", "c"], env=env, capture_output=True, text=True, check=True)
    folders, arguments = answer.stdout.splitlines()
    assert folders.split(":") == [str(moved / name) for name in ("lib/x86", "usr/lib/x86", "usr/lib/x86/pulseaudio")]
    assert arguments == "a b c"


def test_packages_without_a_browser_are_refused(tmp_path: Path):
    with pytest.raises(
        console.Stop, match=r"expected the browser of chromium-headless-shell below usr/lib, found none"
    ):
        browser.write_wrapper(tmp_path)


@pytest.mark.parametrize(("text", "expected"), [(DEBIAN, True), ('ID="debian"\n', True), (UBUNTU, False), ("", False)])
def test_browser_is_fetched_on_debian_only(text: str, expected: bool):
    assert browser.is_debian(text) is expected


@pytest.fixture
def without_browser(monkeypatch, bare_host: Path, tmp_path: Path) -> Path:
    """An Ubuntu without apt, a browser or CI; gives the folder of its environment."""
    (tmp_path / "os-release").write_text(UBUNTU)
    monkeypatch.setattr(browser, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(browser, "VENV", tmp_path / "venv")
    monkeypatch.setattr(browser.find_browser, "__defaults__", (tmp_path / "venv", os.environ, "linux"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PLAYWRIGHT_BROWSERS_PATH", raising=False)
    return tmp_path / "venv"


def run(*argv: str) -> int:
    return console.exit_status("browser", lambda: browser.main(argv))


def playwright(venv: Path, body: str) -> None:
    """A Python of the environment whose playwright does `body`, with the folder that it is to use as $into."""
    text = f'into=$PLAYWRIGHT_BROWSERS_PATH; [ "$3" = install ] || exit 9; {body}'
    executable(venv / "bin/python", f"PATH=/usr/bin:/bin; {text}")


FETCHES = """\
to=$into/chromium_headless_shell-1200/chrome-headless-shell-linux64
mkdir -p $to; printf '#!/bin/sh\\necho Google Chrome for Testing 150.0\\n' > $to/chrome-headless-shell
chmod +x $to/chrome-headless-shell"""


@pytest.mark.parametrize("text", [DEBIAN, UBUNTU])
def test_host_without_any_way_is_told_what_to_install(text: str, without_browser: Path, tmp_path: Path, capsys):
    (tmp_path / "os-release").write_text(text)
    assert run() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "install Chromium, Google Chrome or Edge so that one of chromium," in error


def test_without_a_browser_playwright_fetches_one_into_the_environment(without_browser: Path):
    playwright(without_browser, FETCHES)
    assert run("--for-tests") == 0
    found = browser.find_browser(without_browser)
    assert found == without_browser / (
        "playwright/chromium_headless_shell-1200/chrome-headless-shell-linux64/chrome-headless-shell"
    )
    assert browser.reason_to_skip(without_browser) is None


def test_where_apt_fails_playwright_is_tried(without_browser: Path, monkeypatch):
    def fail(*_: object) -> None:
        raise console.StepFailed("apt-get exited with status 100", "E: no such package")

    monkeypatch.setattr(browser, "debian_source", lambda: Source((), "bookworm", ()))
    monkeypatch.setattr(browser, "fetch", fail)
    playwright(without_browser, FETCHES)
    assert run() == 0


def test_tests_without_a_browser_are_skipped_in_one_line_that_says_why(without_browser: Path, capsys):
    playwright(without_browser, "echo 'Error: getaddrinfo ENOTFOUND'; exit 1")
    assert run("--for-tests") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("browser: ")]
    assert "Error: getaddrinfo ENOTFOUND): the tests that need one are skipped; install" in line
    assert "no Chromium, Chrome or Edge here" in browser.reason_to_skip(without_browser)


def test_in_ci_nothing_is_skipped(without_browser: Path, monkeypatch, capsys):
    monkeypatch.setenv("CI", "true")
    assert run("--for-tests") == 2
    assert "skipped" not in capsys.readouterr().err
    assert browser.reason_to_skip(without_browser) is None


def test_ci_run_is_ci():
    assert "export CI=true" in (Path(__file__).parent.parent / ".ci/run").read_text()


@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("0", False), ("false", False), ("1", True), ("true", True)]
)
def test_variable_of_ci_servers(value: str, expected: bool):
    assert browser.in_ci({"CI": value}) is expected
    assert not browser.in_ci({})


def test_browser_of_playwright_that_lacks_libraries_is_told_how_to_get_them(without_browser: Path, capsys):
    playwright(without_browser, FETCHES.replace("echo Google Chrome for Testing 150.0", "exit 127"))
    assert run() == 2
    assert "bin/python -m playwright install-deps chromium, as root" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("darwin", "Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
        ("darwin", "Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge"),
        ("darwin", "Library/Caches/ms-playwright/chromium-1200/chrome-mac/Chromium.app/Contents/MacOS/Chromium"),
        ("linux", ".cache/ms-playwright/chromium-1200/chrome-linux/chrome"),
        ("linux", ".cache/ms-playwright/chromium_headless_shell-1200/chrome-linux/headless_shell"),
    ],
)
def test_browser_at_its_usual_place_is_found(bare_host: Path, tmp_path: Path, platform: str, place: str):
    home = tmp_path / "home"
    installed = executable(home / place, "echo Microsoft Edge 150.0")
    environ = {"PATH": str(bare_host), "HOME": str(home)}
    assert browser.find_browser(tmp_path / "venv", environ, platform) == installed
    environ = {"PATH": str(bare_host), "PLAYWRIGHT_BROWSERS_PATH": str(home / ".cache/ms-playwright")}
    assert browser.find_browser(tmp_path / "venv", environ, platform) == (installed if ".cache" in place else None)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_home_that_may_not_be_entered_hides_no_browser_and_ends_no_search(bare_host, tmp_path, shut_home, platform):
    environ = {"PATH": str(bare_host), "HOME": str(shut_home)}
    assert browser.find_browser(tmp_path / "venv", environ, platform) is None


def test_suite_is_the_hosts_own_release(monkeypatch, tmp_path: Path):
    own = Source(("http://mirror.example/debian",), "bookworm", ("main",))
    (tmp_path / "os-release").write_text(DEBIAN)
    monkeypatch.setattr(browser, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(browser, "host_source", lambda: ("bookworm", own))
    assert browser.debian_source() == own


def test_failed_download_leaves_nothing(monkeypatch, tmp_path: Path):
    def fail(*_: object) -> None:
        raise console.StepFailed("apt-get exited with status 100", "E: no network")

    monkeypatch.setattr(browser, "download", fail)
    with pytest.raises(console.StepFailed):
        browser.fetch(tmp_path, Source((), "bookworm", ()))
    assert [path.name for path in tmp_path.iterdir()] == ["browser.log"]
