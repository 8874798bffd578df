"""The variables of the environment that are named like settings: those that are none are found before they mislead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

PREFIX = "HEADRACE_"

# What the project's own tests and benchmarks are told by, and what container platforms say of a service that is named
# `headrace…`: Kubernetes puts HEADRACE_SERVICE_HOST, HEADRACE_PORT_80_TCP_ADDR and the like into every pod beside it.
_OTHERS = re.compile(
    r"(REQUIRE|TEST|BENCH)_\w+|SOAK"
    r"|(\w+_)?SERVICE_(HOST|PORT)(_\w+)?"
    r"|(\w+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


def strangers(names: Iterable[str], settings: Collection[str], sections: Collection[str]) -> list[str]:
    """What is to be said of each variable with our prefix that names no setting.

    `settings` are known ones, with dots; `sections` those beneath which names are checked elsewhere.
    """
    known = [setting.upper().replace(".", "__") for setting in settings]
    ours = [name for name in sorted(names) if _is_ours(name)]
    return [_said(name, known, sections) for name in ours if not _is_known(_key(name), known, sections)]


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX) and not _OTHERS.fullmatch(_key(name))


def _is_known(key: str, known: Collection[str], sections: Collection[str]) -> bool:
    first, nested, _ = key.partition("__")
    return key in known or (first.lower() in sections and bool(nested or first == key))


def _said(name: str, known: Collection[str], sections: Collection[str]) -> str:
    near = _nearest(_key(name), known, [section.upper() for section in sections])
    meant = f"did you mean {PREFIX}{near}?" if near else "unset it, or give it a name without that prefix"
    return f"the variable {name} is no setting; {meant}"


def _nearest(key: str, known: Collection[str], sections: Collection[str]) -> str:
    # One underscore where two belong, perhaps: what follows may be a name that only the user knows.
    if section := next((one for one in sections if key.startswith(f"{one}_")), ""):
        near = get_close_matches(key, [one for one in known if one.startswith(f"{section}__")], n=1)
        return near[0] if near else f"{section}__…"
    near = get_close_matches(key, known, n=1) or get_close_matches(key.partition("__")[0], known, n=1)
    return near[0] if near else ""


def _key(name: str) -> str:
    return name.upper()[len(PREFIX) :]
