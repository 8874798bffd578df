"""What handlers print and log: told line by line, with the event it belongs to, and never in their way."""

from __future__ import annotations

import pytest
from lab import Lab, task


async def test_lines_are_told_by_event_and_stream(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        print("at import")

        @function("orders")
        async def handle(data: dict, ctx: Context) -> None:
            print("on\\tout\\x1b[31m")
            print("no newline", end="")
            print("on err", file=sys.stderr)
            os.write(1, b"bare\\n")
            ctx.log.warning("stock %s", "low", left=3)
        """
    )
    worker.send(lab.chunk(task(headers=[("ce_id", b"e1")])))
    told = {}
    for text in ("at import", "on\tout[31m", "no newline", "on err", "bare", "stock low"):
        line = await ear.line(text)
        told[text] = (line.stream, line.event, line.level, line.fields)
    assert told == {
        "at import": ("stdout", None, None, None),
        "on\tout[31m": ("stdout", "e1", None, None),
        "no newline": ("stdout", "e1", None, None),
        "on err": ("stderr", "e1", None, None),
        "bare": ("stdout", None, None, None),
        "stock low": ("log", "e1", "warning", {"left": 3}),
    }


@pytest.mark.parametrize("options", ["", ", concurrency=2"])
async def test_threads_of_one_event_that_print_at_once_have_each_their_own_line(lab: Lab, options: str) -> None:
    worker, ear = await lab.start(
        f"""
        both = threading.Barrier(2)

        def talk(name):
            print(name, "begins", end="")
            both.wait()
            print(",", name, "goes on")
            print(name, "ends", end="")

        @function("orders"{options})
        async def handle(data: dict) -> None:
            await asyncio.gather(asyncio.to_thread(talk, "one"), asyncio.to_thread(talk, "two"))
        """
    )
    chunk = lab.chunk(task(headers=[("ce_id", b"e1")]))
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    await worker.stop(5)
    told = sorted((line.event, line.text) for line in ear.lines)
    assert told == sorted(
        ("e1", f"{name} {does}") for name in ("one", "two") for does in (f"begins, {name} goes on", "ends")
    )


async def test_a_logged_exception_comes_with_its_traceback(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def handle(data: dict, ctx: Context) -> None:
            try:
                1 / 0
            except ZeroDivisionError:
                ctx.log.exception("odd")
        """
    )
    worker.send(lab.chunk(task()))
    line = await ear.line("odd")
    assert line.level == "error"
    assert "ZeroDivisionError" in (line.fields or {})["exception"]


async def test_fifty_thousand_lines_do_not_stall_the_handler_nor_flood_the_listener(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", timeout=100)
        def chatter(data: dict) -> None:
            for n in range(50_000):
                print("line", n)
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    await worker.stop(20)
    dropped = [line for line in ear.lines if "lines dropped" in line.text]
    assert dropped
    assert len(ear.lines) - len(dropped) + sum(int(line.text.split()[0].replace(",", "")) for line in dropped) == 50_000
