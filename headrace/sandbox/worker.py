"""A worker: the process in which one function's events are handled, one after another or several at once.

It is forked from the zygote and has entered its sandbox before anything here runs. In this order: it is told what to
be (`Start`), takes the environment on, imports the target, sets up, answers `Ready` or `Broken`, runs chunks until the
socket ends, and closes its setup. How it runs them: one after another (`service`), several at once (`concurrent`), or
in batches (`batches`).
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.functions.signature import Handler
from headrace.sandbox.batches import Batches, BatchInvocation, ConcurrentBatches
from headrace.sandbox.capture import Capture
from headrace.sandbox.concurrent import ConcurrentService
from headrace.sandbox.connection import Connection
from headrace.sandbox.invocation import Invocation
from headrace.sandbox.loader import Loaded, Unserviceable, load
from headrace.sandbox.outcome import Failure
from headrace.sandbox.page import Page
from headrace.sandbox.service import Service
from headrace.sandbox.setup import Setup
from headrace.sandbox.warmth import warm_up
from headrace.sandbox.wire import VERSION, Broken, Imported, Ready, Start

if TYPE_CHECKING:
    from headrace.sandbox.debugger import Debugger


def preload() -> None:
    """Do once, in the zygote, what each worker would do before it comes to user code: import and warm up."""
    for name in (
        "headrace.functions",
        "asyncio.unix_events",
        "pydantic.main",
        "pydantic.dataclasses",
        "structlog.stdlib",
    ):
        importlib.import_module(name)
    warm_up()


def main(ipc_fd: int, page_fd: int, folder: str, terminal: int | None = None) -> None:
    """Serve on `ipc_fd` until the parent ends it. `folder` is the worker's own temporary one.

    With a `terminal` its handler runs in a debugger there.
    """
    connection = Connection(ipc_fd)
    page = Page(page_fd)
    os.close(page_fd)
    debugger, capture = None, Capture()
    if terminal is not None:
        debugger, capture = _debugger(terminal)
    else:
        sys.breakpointhook = _no_debugger
    capture.install()
    with suppress(ConnectionError):  # the parent is gone, and whoever would be told with it
        start = connection.receive_start()
        if start is not None:
            take_environment(start, folder)
            serve(start, connection, page, capture, debugger)
    capture.flush()


def _debugger(terminal: int) -> tuple[Debugger, Capture]:
    from headrace.sandbox.debugger import Debugger, attach  # noqa: PLC0415  (no other worker has a use for it)

    capture = attach(terminal)
    debugger = Debugger()
    debugger.install()
    return debugger, capture


def _no_debugger(*arguments: object, **options: object) -> object:
    """What `breakpoint()` does where there is no terminal to stop at, unless the environment says what."""
    if "PYTHONBREAKPOINT" in os.environ:
        return sys.__breakpointhook__(*arguments, **options)  # noqa: T100
    raise RuntimeError("breakpoint(): a worker has no terminal; headrace invoke TARGET::NAME … --debug stops here")


def take_environment(start: Start, folder: str) -> None:
    """Only now does a secret enter this process: behind its limits, before user code."""
    os.environ.update({"HOME": folder, "TMPDIR": folder, **start.environment})
    with suppress(OSError):
        os.chdir(start.target.root)


def serve(start: Start, connection: Connection, page: Page, capture: Capture, debugger: Debugger | None = None) -> None:
    """Import the target, say how that went, run what comes."""
    try:
        loaded = _load(start)
        handler = _choose(loaded, start)
        capture.flush()
        if handler is None:
            connection.send(Ready(VERSION, loaded.code, loaded.manifest()))
            connection.receive()  # nothing comes but the end
            return
        if debugger is not None:
            handler = debugger.debugged(handler)
        if handler.declaration.setup is not None:
            connection.send(Imported())
        invocation, service = _kind(handler)
        setup = Setup(handler.declaration, loaded.user_code)
        ready = Ready(VERSION, loaded.code)
        service(invocation(handler, loaded.user_code, start), setup, connection, page, capture).run(ready)
    except Unserviceable as error:
        capture.flush()
        connection.send(error.broken)


def _load(start: Start) -> Loaded:
    here = os.getpid()
    try:
        return load(start.target, start.app)
    finally:
        if os.getpid() != here:  # a child that user code forked while it was imported has come back: it serves nobody
            os._exit(0)


def _kind(handler: Handler) -> tuple[type[Invocation], type[Service | ConcurrentService]]:
    """How events are run through this handler: one by one or in batches, one after another or several at once."""
    at_once = handler.declaration.concurrency > 1
    if handler.payload.batch:
        return BatchInvocation, ConcurrentBatches if at_once else Batches
    return Invocation, ConcurrentService if at_once else Service


def _choose(loaded: Loaded, start: Start) -> Handler | None:
    if start.function is None:
        return None
    if (handler := loaded.handlers.get(start.function)) is None:
        known = ", ".join(loaded.handlers)
        message = f"{start.target.path}: no function is named {start.function!r} any more; it has: {known}"
        raise Unserviceable(Broken("missing", Failure("TargetError", message)))
    return _in_force(handler, start)


def _in_force(handler: Handler, start: Start) -> Handler:
    """The handler with the limits that settings put in place of its own."""
    declared = handler.declaration
    declared = replace(
        declared,
        timeout=declared.timeout if start.timeout is None else start.timeout,
        concurrency=declared.concurrency if start.concurrency is None else start.concurrency,
    )
    return replace(handler, declaration=declared)
