"""A folder with functions that is worked on under `headrace dev`, on a real terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Shell
from terminal import Terminal, on_terminal

FUNCTIONS = """
from pydantic import BaseModel
from headrace import Context, Reject, Retry, function

class Order(BaseModel):
    n: int

class Sent(BaseModel):
    n: int

@function("orders", emits={"emails": Sent}, retry=Retry(attempts=ATTEMPTS, delay=600, max_delay=600, jitter="none"))
def confirm(order: Order, ctx: Context) -> Sent:
    print("sending", order.n)
    if order.n == 13 and ctx.attempt < 3:
        raise ValueError("unlucky")
    return Sent(n=order.n)
"""
ANOTHER = """
@function("emails")
async def count(sent: Sent) -> None:
    pass
"""


class Shop(Shell):
    """A folder with functions, and `headrace dev` in it."""

    def define(self, more: str = "", *, attempts: int = 3, mended: bool = False) -> Path:
        text = FUNCTIONS.replace("ATTEMPTS", str(attempts)).replace("n == 13", "n == 14" if mended else "n == 13")
        return self.write("functions.py", text + more)

    @contextmanager
    def dev(self, *arguments: str, columns: int = 160) -> Iterator[Terminal]:
        with on_terminal(self, "dev", *arguments, columns=columns) as terminal:
            yield terminal

    def order(self, n: int) -> None:
        self.run("emit", "orders", json.dumps({"n": n}), "--type", "Order", "--key", str(n))
