"""A second reading of progress: what a group says is done and charged, decoded without any shipped code but msgpack."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

CONDEMNED_MS = 0


@dataclass
class Account:
    """What is durably done of a partition, and how often what is not has been charged."""

    watermark: int = 0
    beyond: set[int] = field(default_factory=set)
    failures: dict[int, int] = field(default_factory=dict)
    due_ms: dict[int, int] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)
    died_at: int | None = None
    """The start that was written down by an owner that did not leave in order."""
    bytes: int = field(default=0, compare=False)

    @classmethod
    def read(cls, watermark: int | None, data: bytes) -> Account:
        """The account in the bytes of a settlement (`headrace.runtime.progress` has the format)."""
        account = cls(watermark or 0, bytes=len(data))
        if not data:
            return account
        assert data[:2] == b"HP", data
        flat, ledger, *later = msgspec.msgpack.decode(data[3:])
        at = account.watermark
        for distance, length in zip(flat[::2], flat[1::2], strict=True):
            start = at + distance
            at = start + length
            account.beyond.update(range(start, at))
        for distance, failures, due_ms, *flags in ledger:
            if any(flags):
                account.alone.add(account.watermark + distance)
            if failures:
                account.failures[account.watermark + distance] = failures
                account.due_ms[account.watermark + distance] = due_ms
        if later:
            alive, _, _, started, *_ = later[0]
            account.died_at = account.watermark + started if alive and started is not None else None
        return account

    def done(self, offset: int) -> bool:
        """Whether the event at `offset` is done."""
        return offset < self.watermark or offset in self.beyond

    def newly_done(self, before: Account) -> list[int]:
        """What is done here and was not before."""
        passed = [o for o in range(before.watermark, self.watermark) if o not in before.beyond]
        return passed + sorted(self.beyond - before.beyond)

    def charge_owner_death(self) -> int:
        """Charge the start that its owner did not survive; how many failures that makes."""
        assert self.died_at is not None
        self.failures[self.died_at] = self.failures.get(self.died_at, 0) + 1
        self.due_ms[self.died_at] = CONDEMNED_MS
        self.alone.add(self.died_at)
        return self.failures[self.died_at]

    @property
    def condemned(self) -> dict[int, int]:
        """What is due never: how often it is charged. If that is as often as it may be, it has no other attempt."""
        return {offset: n for offset, n in self.failures.items() if self.due_ms[offset] == CONDEMNED_MS}

    def __repr__(self) -> str:
        return f"<done below {self.watermark} and {sorted(self.beyond)}, charged {self.failures}>"
