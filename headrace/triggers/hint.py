"""Hints: what a URL that names no broker was probably meant to be."""

from __future__ import annotations

import re
from difflib import get_close_matches

HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@,\[\]]+)(:[0-9]{1,5})?")
PORT = 9092

_SCHEMES = ("sqlite", "kafka", "memory")
# What Kafka's own tools put before an address. Here it is a setting.
_PROTOCOLS = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"}
_OF_A_FILE = re.compile(r"[~/\\]|^\.|\.(db|sqlite3?|log)$")


def hint(url: str) -> str:
    """` (did you mean 'kafka://localhost:9092'?)`, or nothing if nothing is near. Shows no password."""
    meant = " or ".join(repr(one) for one in _meant(url))
    return f" (did you mean {meant}?)" if meant else ""


def servers(text: str) -> str:
    """A list of hosts, each with its port, or with Kafka's; empty if it is none."""
    found = [HOST.fullmatch(host) for host in text.removeprefix("//").removesuffix("/").split(",")]
    if not all(one and _is_name(one[1]) for one in found):
        return ""
    return ",".join(one[0] if one[2] else f"{one[0]}:{PORT}" for one in found if one)


def _is_name(host: str) -> bool:
    """Whether a resolver would take it: what it cannot even encode it does not look up."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _meant(url: str) -> list[str]:
    scheme, colon, rest = url.partition(":")
    if not url or "@" in url:
        return []
    if not colon:
        return _bare(url)
    if known := _scheme(scheme, rest):
        return known
    if _OF_A_FILE.search(url) and not rest.startswith("//"):
        return [f"sqlite:{url}"]
    hosts = "" if rest.startswith("//") else servers(url)
    return [f"kafka://{hosts}"] if hosts else []


def _bare(url: str) -> list[str]:
    """A word without a colon is a file if it looks like one, else perhaps a host."""
    hosts = "" if _OF_A_FILE.search(url) else servers(url)
    return [f"sqlite:{url}", *([f"kafka://{hosts}"] if hosts else [])]


def _scheme(scheme: str, rest: str) -> list[str]:
    """A scheme that is nearly right."""
    near = get_close_matches(scheme.lower(), _SCHEMES, n=1)
    if (near == ["kafka"] or scheme.lower() in _PROTOCOLS) and (hosts := servers(rest.lstrip("/"))):
        return [f"kafka://{hosts}"]
    if near == ["sqlite"] or scheme.lower() == "file":
        return paths(rest)
    return ["memory:"] if near == ["memory"] else []


def paths(rest: str) -> list[str]:
    """What may stand for a path that follows `sqlite:`: as it is, or with the slashes of other kinds of URL gone."""
    path = rest.lstrip("/")
    if not path:
        return []
    if rest.startswith("///"):  # as others write an absolute path
        return [f"sqlite:/{path}"]
    return [f"sqlite:{path}", f"sqlite:/{path}"] if rest.startswith("//") else [f"sqlite:{rest}"]
