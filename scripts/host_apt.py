"""Takes packages from the host's own apt mirror without root and without touching the host's apt state.

The mirror and its signing keys are read from the host's apt sources; only the suite may change. apt runs on a private
configuration (sources, lists, cache) in a temporary folder, with the insecure fallbacks switched off, so a package is used
only if the chain from the archive's signature to its hash holds. Nothing is installed: `unpack` extracts the files.

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
# A `Suites:` line may name a Debian release by its rank in place of its name.
RANKS = ("stable", "oldstable", "oldoldstable")
FETCHABLE = ("http:", "https:", "ftp:", "file:", "mirror")

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
    """One place of packages: its mirrors, suite, components, and the keys that must have signed it ("" = apt's own)."""

    uris: tuple[str, ...]
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def stanza(self) -> str:
        """The deb822 text of this source. Only the package lists are wanted: no Contents, DEP-11 or the like."""
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
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(line.rstrip() for line in lines).split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line  # Signed-By may hold a whole key, one space before each line.
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in (
            "no",
            "false",
            "0",
            "off",
            "without",
            "disable",
        )
        if enabled and "deb" in fields.get("types", "").split():
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
        if not words or words[0] != "deb":
            continue
        options: list[str] = []
        rest = words[1:]
        if rest[:1] == ["["] and "]" in rest:
            end = rest.index("]")
            options, rest = rest[1:end], rest[end + 1 :]
        if len(rest) < 2:
            continue
        signed_by = next((o.partition("=")[2] for o in options if o.lower().startswith("signed-by=")), "")
        sources.append(Source((rest[0],), rest[1], tuple(rest[2:]), signed_by.replace(",", " ")))
    return sources


def codename(os_release: str) -> str:
    """The release's code name in the text of /etc/os-release, or "" where it has none."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", "").strip("\"'")


def choose(sources: Iterable[Source], release: str) -> Source | None:
    """The first source of the release itself (not its updates or security suites) that can be fetched from."""
    for source in sources:
        uris = tuple(uri for uri in source.uris if uri.startswith(FETCHABLE))
        if uris and "main" in source.components and source.suite in (release, *RANKS):
            return Source(uris, source.suite, source.components, source.signed_by)
    return None


def host_source(etc: Path = APT_ETC, os_release: Path = OS_RELEASE) -> tuple[str, Source] | None:
    """The host's release and its main source, or None where there is no apt or no usable source."""
    if not (shutil.which("apt-get") and shutil.which("dpkg") and os_release.is_file()):
        return None
    release = codename(os_release.read_text(encoding="utf-8"))
    sources: list[Source] = []
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*"))]:
        if path.suffix == ".sources":
            sources += parse_deb822(path.read_text(encoding="utf-8"))
        elif path.suffix == ".list" and path.is_file():
            sources += parse_one_line(path.read_text(encoding="utf-8"))
    source = choose(sources, release)
    return (release, source) if release and source else None


def download(packages: Sequence[str], source: Source, folder: Path, log: Log) -> list[Path]:
    """Downloads `packages` (without what they depend on) into `folder`; gives the paths of the .deb files."""
    for name in ("sources", "state/lists/partial", "cache/archives/partial", "debs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "empty.list").touch()
    (folder / "sources/private.sources").write_text(source.stanza(), encoding="utf-8")
    config = folder / "apt.conf"
    config.write_text(CONFIG.format(work=folder), encoding="utf-8")
    apt = ["env", "-C", folder / "debs", "LC_ALL=C", "apt-get", "-q", "-c", config]
    log.run([*apt, "update"])
    log.run([*apt, "download", *packages])
    return sorted((folder / "debs").glob("*.deb"))


def unpack(debs: Iterable[Path], into: Path, log: Log) -> None:
    """Extracts the files of `debs` under `into`; runs none of their scripts."""
    into.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        log.run(["dpkg", "-x", deb, into])
