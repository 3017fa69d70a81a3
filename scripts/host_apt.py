"""Takes packages from the host's own apt mirror, without root and without touching apt's state.

The mirror and its signing keys are read from the host's apt sources; only the suite may change.
apt runs on a private configuration in a temporary folder, with the insecure fallbacks switched off:
a package is used only if the chain from the archive's signature to the package's hash holds.
Nothing is installed; `unpack` extracts the files.

Synopsis:

    release, source = host_source()
    debs = download(["libc6"], replace(source, suite="trixie"), folder, log)
    unpack(debs, into, log)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.console import Log

APT_ETC = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
# A source may name a Debian release by its rank in place of its name.
RANKS = ("stable", "oldstable", "oldoldstable")
FETCHABLE = ("http:", "https:", "ftp:", "file:", "mirror")
DISABLED = ("no", "false", "without", "off", "disable", "0")

# Wherever the host's configuration could weaken or slow this down, it is overruled here.
CONFIG = """\
Dir::Etc::sourcelist "{work}/empty.list";
Dir::Etc::sourceparts "{work}/sources";
Dir::State "{work}/state";
Dir::Cache "{work}/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


@dataclass(frozen=True)
class Source:
    """A place of packages: mirrors, suite, components, the keys it is signed by ("": apt's own)."""

    uris: tuple[str, ...]
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def stanza(self) -> str:
        """The deb822 text of this source, limited to its package lists (no Contents, no DEP-11)."""
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {self.suite}",
            f"Components: {' '.join(self.components)}",
            "Targets: Packages",
        ]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def parse_deb822(text: str) -> list[Source]:
    """Sources of a `.sources` file; a stanza with several suites gives one source for each."""
    sources = []
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith((" ", "\t")) and name:
                fields[name] += "\n" + line  # Signed-By may hold a whole key.
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in DISABLED:
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        sources += [
            Source(
                uris=tuple(fields.get("uris", "").split()),
                suite=suite,
                components=tuple(fields.get("components", "").split()),
                signed_by=fields.get("signed-by", ""),
            )
            for suite in fields.get("suites", "").split()
        ]
    return sources


def parse_one_line(text: str) -> list[Source]:
    """Sources of a `.list` file: `deb [option=value ...] uri suite component ...`."""
    sources = []
    for line in text.splitlines():
        words = line.partition("#")[0].replace("[", " [ ").replace("]", " ] ").split()
        if words[:1] != ["deb"]:
            continue
        options: list[str] = []
        words = words[1:]
        if words[:1] == ["["] and "]" in words:
            end = words.index("]")
            options, words = words[1:end], words[end + 1 :]
        if len(words) < 2:
            continue
        keys = [o.partition("=")[2] for o in options if o.lower().startswith("signed-by=")]
        signed_by = " ".join(keys).replace(",", " ")
        sources.append(Source((words[0],), words[1], tuple(words[2:]), signed_by))
    return sources


def codename(os_release: str) -> str:
    """The release's code name in the text of /etc/os-release; "" where it has none."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", "").strip("\"'")


def choose(sources: Iterable[Source], release: str) -> Source | None:
    """The first fetchable source of the release itself, not of its updates or security suites."""
    for source in sources:
        uris = tuple(uri for uri in source.uris if uri.startswith(FETCHABLE))
        if uris and "main" in source.components and source.suite in (release, *RANKS):
            return Source(uris, source.suite, source.components, source.signed_by)
    return None


def host_source(etc: Path = APT_ETC, os_release: Path = OS_RELEASE) -> tuple[str, Source] | None:
    """The host's release and its main source; None where there is no apt or no usable source."""
    if not (shutil.which("apt-get") and shutil.which("dpkg") and os_release.is_file()):
        return None
    release = codename(_text(os_release))
    sources: list[Source] = []
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*"))]:
        if path.suffix == ".sources":
            sources += parse_deb822(_text(path))
        elif path.suffix == ".list":
            sources += parse_one_line(_text(path))
    source = choose(sources, release)
    return (release, source) if release and source else None


def _text(path: Path) -> str:
    """The text of a file of the host's, "" of one that may not be read, or is gone; comments are in any encoding."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def download(packages: Sequence[str], source: Source, folder: Path, log: Log) -> list[Path]:
    """Downloads `packages`, without their dependencies, into `folder`; gives the .deb files."""
    folder = folder.resolve()
    for name in ("sources", "state/lists/partial", "cache/archives/partial", "debs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "empty.list").touch()
    (folder / "sources/private.sources").write_text(source.stanza(), encoding="utf-8")
    config = folder / "apt.conf"
    config.write_text(CONFIG.format(work=folder), encoding="utf-8")
    apt = ["apt-get", "-q", "-c", config]
    log.run([*apt, "update"], {"LC_ALL": "C"})
    log.run([*apt, "download", *packages], {"LC_ALL": "C"}, cwd=folder / "debs")
    return sorted((folder / "debs").glob("*.deb"))


def unpack(debs: Iterable[Path], into: Path, log: Log) -> None:
    """Extracts the files of `debs` under `into`; runs none of their scripts."""
    into.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        log.run(["dpkg", "-x", deb, into])
