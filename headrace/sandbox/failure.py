"""From an exception to a `Failure`: text that means something to whoever wrote the handler."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from hashlib import blake2b
from types import TracebackType

from headrace.sandbox.outcome import Failure
from headrace.sandbox.usercode import UserCode

MAX_MESSAGE = 4 << 10  # bytes
MAX_STACK = 16 << 10
_MOST_FRAMES = 100  # a recursion's end says as much as its whole
_MOST_CAUSES = 5


def failure_of(
    error: BaseException, code: UserCode, *, type_: str | None = None, message: str | None = None
) -> Failure:
    """The failure that `error` stands for. `type_` and `message` replace its own."""
    name = type_ or type_name(error)
    frames = _user_frames(error.__traceback__, code)
    return Failure(
        name,
        cut(message_of(error) if message is None else message, MAX_MESSAGE),
        cut("".join(_stack(error, frames, code)), MAX_STACK, keep_end=True),
        _fingerprint(name, [f"{os.path.basename(f.filename)}:{f.name}" for f in frames]),  # noqa: PTH119
    )


def refusal(type_: str, message: str) -> Failure:
    """A failure that no exception stands for. Its kind is its message, numbers aside (a position, a count)."""
    return Failure(type_, cut(message, MAX_MESSAGE), "", _fingerprint(type_, [re.sub(r"\d+", "#", message)]))


def type_name(error: BaseException) -> str:
    """The qualified name of an exception's class; plain for built-in ones."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in {"builtins", "__main__"} else f"{cls.__module__}.{cls.__qualname__}"


def message_of(error: BaseException) -> str:
    """`str(error)`, also where that itself fails."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001  (user code)
        return f"<its message cannot be shown: {type_name(broken)}>"


def frames_of(error: BaseException, code: UserCode) -> traceback.StackSummary:
    """The user's frames of a traceback, innermost last."""
    return _user_frames(error.__traceback__, code)


def cut(text: str, limit: int, *, keep_end: bool = False) -> str:
    """`text` in at most `limit` bytes of UTF-8; half a surrogate pair, which has none, becomes a question mark."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    room = limit - 3  # for the ellipsis
    return "…" + data[-room:].decode(errors="ignore") if keep_end else data[:room].decode(errors="ignore") + "…"


def _user_frames(trace: TracebackType | None, code: UserCode) -> traceback.StackSummary:
    found = [(frame, line) for frame, line in traceback.walk_tb(trace) if code.is_users(frame.f_code.co_filename)]
    return traceback.StackSummary.extract(found[-_MOST_FRAMES:])


def _stack(error: BaseException, frames: traceback.StackSummary, code: UserCode) -> Iterator[str]:
    chain = [error]
    while (cause := _cause_of(chain[-1])) is not None and cause not in chain and len(chain) <= _MOST_CAUSES:
        chain.append(cause)
    for link in reversed(chain[1:]):
        yield from _user_frames(link.__traceback__, code).format()
        yield f"{type_name(link)}: {cut(message_of(link), 500)}\n"
        yield "which led to:\n"
    yield from frames.format()
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions[:_MOST_CAUSES], 1):
            yield f"member {number}: {type_name(member)}: {cut(message_of(member), 500)}\n"
            yield from _user_frames(member.__traceback__, code).format()


def _cause_of(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _fingerprint(type_: str, parts: list[str]) -> str:
    digest = blake2b(digest_size=8)
    for part in (type_, *parts):
        digest.update(part.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()
