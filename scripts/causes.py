"""Tells from what a tool printed, or the system refused, what this machine lacks: a sentence in place of a traceback.

Synopsis:

    cause(["error: No space left on device (os error 28)"])     # "the disk is full: make room ..."
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Of what the tools say: the first that matches. A full disk also breaks connections, and a certificate that is not
# trusted is a connection error too, so the order matters.
CAUSES = (
    (
        r"no space left on device|disk quota exceeded|os error 28\b|os error 122\b",
        "the disk is full: make room (the environment takes 4.5 GB, the installers' caches as much again; TMPDIR names "
        "another place for what is temporary), and run it again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|self[- ]signed cert|certificate verif|invalid peer certificate|UnknownIssuer|"
        r"unable to get (local )?issuer",
        "the certificate of a server is not trusted here: name the file with your network's certificates in "
        "SSL_CERT_FILE (or PIP_CERT), and run it again.",
    ),
    (
        r"name resolution|name or service not known|failed to lookup address|dns error|network is unreachable|"
        r"no route to host|connection refused|connection reset|connection timed out|ConnectTimeout|read timed out|"
        r"operation timed out|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|could not (resolve|connect)|"
        r"unable to connect|ProxyError|proxy connect|failed to connect",
        "the network was not reachable: look at the connection, or name your proxy (HTTPS_PROXY) or package index "
        "(PIP_INDEX_URL), and run it again.",
    ),
    (
        r"read-only file system",
        "what is to be written lies on a read-only file system: copy the project to where you may write.",
    ),
)


def cause(output: Sequence[str]) -> str | None:
    """What a tool's output says of this machine and not of the tool, with what to do, in one line; None if nothing."""
    text = "\n".join(output)
    return next((told for pattern, told in CAUSES if re.search(pattern, text, re.IGNORECASE)), None)


def told(error: OSError) -> str:
    """A failed call of the operating system in one line, with what to do where that is known."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{cause([error.strerror or '']) or error.strerror or error}"
