"""A storm on Kafka: orders stream in while runtimes, workers and the broker go away and come back; and its account."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fault.fleet import Runtime
from fault.kafka_fleet import KafkaFleet
from fault.kafka_notes import Notes
from fault.kafka_outside import Outside
from fault.kafka_watch import Seen, Watch, by_key, wait_for
from kafkaserver import KafkaServer

PATIENCE_S = 240.0
OUTCOME_S = 60.0  # from the start of the last order: some attempts, and a takeover between
KEYS = 60
ATTEMPTS = 6

FUNCTIONS = """
@function(
    "orders",
    emits={"emails": EmailSent},
    retry=Retry(attempts=6, delay=0.7, factor=1.0),
    timeout=30.0,
    guarantee="GUARANTEE",
)
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    time.sleep(0.008)
    if order.n % 307 == 5:
        note("end", order.n, ctx)
        raise Reject("not this one")
    if order.n % 37 == 3 and ctx.attempt == 1:
        note("end", order.n, ctx)
        raise ValueError("not yet")
    note("end", order.n, ctx)
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""


@dataclass(frozen=True, slots=True)
class Force:
    """How hard it blows."""

    orders: int = 2000
    runtime_kills: int = 4
    worker_kills: int = 4
    freezes: int = 1
    broker_restarts: int = 2  # every other one by SIGKILL

    @property
    def strikes(self) -> list[str]:
        return (
            ["runtime"] * self.runtime_kills
            + ["worker"] * self.worker_kills
            + ["freeze"] * self.freezes
            + ["broker"] * self.broker_restarts
        )


@dataclass
class Storm:
    """The stream, the runtimes under fire, and what is known of both."""

    server: KafkaServer
    outside: Outside
    fleet: KafkaFleet
    force: Force
    dice: random.Random
    notes: Notes
    watch: Watch
    emitted: int = 0
    hits: int = 0
    restarts: int = 0
    cut_off: set[int] = field(default_factory=set)  # orders that a runtime had when it was killed

    @classmethod
    def over(
        cls, server: KafkaServer, outside: Outside, folder: Path, guarantee: str, force: Force, *planted: str
    ) -> Storm:
        """A storm over a new shop."""
        outside.make("orders", "emails", "shop.confirm.dlt", partitions=6)
        notes = Notes(folder / "notes")
        functions = notes.source(FUNCTIONS.replace("GUARANTEE", guarantee))
        fleet = KafkaFleet(folder / "shop", server.url, functions, *planted)
        watch = outside.watch("emails", "shop.confirm.dlt")
        return cls(server, outside, fleet, force, random.Random(4), notes, watch)

    # -- the stream -----------------------------------------------------------------------------------------------

    def emit(self, count: int) -> None:
        """That many orders more."""
        numbers = range(self.emitted, self.emitted + count)
        self.emitted += count
        self.outside.emit("orders", [(f"k{n % KEYS}", {"n": n}) for n in numbers])

    def running(self, runtime: Runtime) -> set[int]:
        """The orders that a worker of this runtime has begun and not ended."""
        return self.notes.running(runtime.workers)

    # -- the fire -------------------------------------------------------------------------------------------------

    def blow(self) -> None:
        """Serve all orders with three runtimes under fire, until each has its outcome; then end them in order."""
        for _ in range(3):
            self.fleet.start()
        strikes = self.force.strikes
        self.dice.shuffle(strikes)
        wave = self.force.orders // (len(strikes) + 1)
        for strike in strikes:
            before = self.emitted
            self.emit(wave)
            enough = before + self.dice.randrange(wave // 4, wave // 2)
            wait_for(
                lambda enough=enough: len(self.notes.begun()) >= enough, f"the start of {enough} orders", PATIENCE_S
            )
            self.strike(strike)
        self.emit(max(0, self.force.orders - self.emitted))
        wait_for(lambda: len(self.notes.begun()) == self.emitted, "the start of every order", PATIENCE_S)
        self.watch.wait(lambda seen: self.unfinished(seen) == set(), "an outcome for each order", OUTCOME_S)
        assert self.fleet.end() == [0, 0, 0]

    def strike(self, what: str) -> None:
        """One strike; those on runtimes and workers come with events in flight."""
        if what == "broker":
            self.restarts += 1
            self.server.stop() if self.restarts % 2 else self.server.kill()
            self.server.start()
            return
        runtime, held = self._frozen_with_events_in_flight()
        self.hits += 1
        match what:
            case "runtime":
                self.fleet.kill(runtime)
                self.cut_off |= held
                self.fleet.start()
            case "worker":
                os.kill(runtime.workers[0], signal.SIGKILL)
                runtime.send(signal.SIGCONT)
            case "freeze":
                self._wait_until_others_took(held, runtime)
                runtime.send(signal.SIGCONT)

    def _frozen_with_events_in_flight(self) -> tuple[Runtime, set[int]]:
        caught: list[tuple[Runtime, set[int]]] = []

        def catch() -> bool:
            for runtime in self.dice.sample(self.fleet.runtimes, len(self.fleet.runtimes)):
                runtime.stop()
                if held := self.running(runtime):
                    caught.append((runtime, held))
                    return True
                runtime.send(signal.SIGCONT)
            if len(self.notes.begun()) == self.emitted:
                self.emit(30)
            return False

        wait_for(catch, "a runtime with events in flight", PATIENCE_S)
        return caught[0]

    def _wait_until_others_took(self, held: set[int], runtime: Runtime) -> None:
        own, before = set(runtime.workers), len(self.notes.all())

        def taken() -> bool:
            return any(note.n in held and note.worker not in own for note in self.notes.all()[before:])

        wait_for(taken, f"the frozen runtime's session to end and {held} to be taken over", PATIENCE_S)

    # -- the account ----------------------------------------------------------------------------------------------

    def unfinished(self, seen: list[Seen]) -> set[int]:
        """The orders without an outcome."""
        return set(range(self.emitted)) - {one.data["n"] for one in seen}

    def check(self, *, exactly_once: bool) -> dict[str, int]:
        """See that the promises were kept. Some figures."""
        with_fresh_eyes = self.outside.watch("emails", "shop.confirm.dlt")
        count = len(self.watch.of())
        with_fresh_eyes.wait(lambda seen: len(seen) >= count and not self.unfinished(seen), "all outcomes")
        emails, letters = with_fresh_eyes.of("emails"), with_fresh_eyes.of("shop.confirm.dlt")
        rejected = {n for n in range(self.emitted) if n % 307 == 5}
        sent = Counter(email.data["n"] for email in emails)
        put_aside = Counter(letter.data["n"] for letter in letters)
        assert set(put_aside) == rejected
        assert set(sent) == set(range(self.emitted)) - rejected
        if exactly_once:
            assert {n: times for n, times in (sent + put_aside).items() if times > 1} == {}, "each outcome once"
        for key, events in by_key(emails).items():
            numbers = [event.data["n"] for event in events]
            assert numbers == sorted(numbers), f"the order of {key}"
        figures = self._check_starts()
        return {**figures, "repeated outcomes": (sent + put_aside).total() - len(sent) - len(put_aside)}

    def _check_starts(self) -> dict[str, int]:
        starts = self.notes.starts()
        times = Counter(note.n for note in starts)
        assert self.cut_off <= {n for n, count in times.items() if count > 1}, (
            "what a killed runtime had is begun again"
        )
        charged = dict.fromkeys(range(self.emitted), 0)
        for note in starts:
            charged[note.n] = max(charged[note.n], note.attempt)
        assert max(charged.values()) <= ATTEMPTS
        beyond = {n: count - charged[n] for n, count in times.items()}
        deaths = self.force.runtime_kills + self.force.freezes + self.force.broker_restarts
        assert max(beyond.values()) <= deaths, "starts beyond attempts come from owners' deaths only"
        innocents = [attempt for n, attempt in charged.items() if n % 37 != 3]
        assert sum(attempt > 1 for attempt in innocents) <= self.force.worker_kills, (
            "only who was under a killed worker"
        )
        return {
            "kills in flight": self.hits,
            "cut off": len(self.cut_off),
            "starts": len(starts),
            "starts beyond attempts": sum(beyond.values()),
            "most of one order": max(beyond.values()),
        }
