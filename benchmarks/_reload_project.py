"""The small project that each contender serves: a model, two handlers, a module they share; and how it is edited."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns

from _reload_outcomes import HANDLERS, HELPER, TELL

ORDERS = """
from pydantic import BaseModel

class Line(BaseModel):
    sku: str
    quantity: int
    price: float

class OrderPlaced(BaseModel):
    number: int
    customer: str
    lines: list[Line]
"""

PRICES = """
from orders import OrderPlaced

VERSION = {version}

def total(order: OrderPlaced) -> float:
    return round(sum(line.quantity * line.price for line in order.lines), 2)
"""


@dataclass(slots=True)
class Project:
    """A folder with the code of a contender: `handlers` is its file of handlers, `source` what is in it."""

    folder: Path
    handlers: str
    source: str
    versions: dict[str, int] = field(default_factory=lambda: {HANDLERS: 1, HELPER: 1})

    def write(self, pipe: Path) -> None:
        """All files, as they are at first."""
        self.folder.mkdir()
        (self.folder / "orders.py").write_text(ORDERS)
        (self.folder / "telling.py").write_text(TELL.replace("{pipe!r}", repr(str(pipe))))
        for part in self.versions:
            (self.folder / self._file(part)).write_text(self._text(part))

    def edit(self, part: str) -> int:
        """Put the next version in place as an editor does, beside the file and over it; when that was, in ns."""
        self.versions[part] += 1
        file = self.folder / self._file(part)
        beside = file.with_name(f"{file.name}.new")
        beside.write_text(self._text(part))
        at_ns = monotonic_ns()
        beside.rename(file)
        return at_ns

    def _file(self, part: str) -> str:
        return {HANDLERS: self.handlers, HELPER: "prices.py"}[part]

    def _text(self, part: str) -> str:
        text = {HANDLERS: self.source, HELPER: PRICES}[part]
        return text.replace("{version}", str(self.versions[part]))


def document(number: int) -> dict[str, object]:
    lines = [{"sku": f"sku-{number % 97}", "quantity": 1 + number % 5, "price": 9.95}]
    return {"number": number, "customer": f"customer-{number % 50}", "lines": lines}
