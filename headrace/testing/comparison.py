"""Whether two runs of a scenario left the same in the log: the same events in each topic, those of a key in one order.

Compared are id, type, key and data; of dead letters also which function gave up, and on what kind of error. Times,
places and attempts may differ. The order of a key's events is compared where it is promised: in a topic that one
function writes to, in order, from one topic of which the same is true, or that the test alone emits to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from headrace.functions.names import is_internal
from headrace.runtime.plan import dead_letter_topic
from headrace.testing.arrivals import Arrivals
from headrace.testing.subject import Subject
from headrace.testing.views import DeadLetter, StoredEvent

_MOST = 5


class Entry(NamedTuple):
    """What has to be the same of an event."""

    id: str
    type: str | None
    key: str | None
    value: bytes | None
    error: str = ""

    def __str__(self) -> str:
        error = f" ({self.error})" if self.error else ""
        return f"{self.type or 'event'} {self.id}, key {self.key!r}: {_short(self.value)}{error}"


Contents = Mapping[str, Sequence[Entry]]


def contents_of(arrivals: Arrivals) -> Contents:
    """What lies in the topics now, but for those in which events wait for another attempt.

    On a log without transactions, without what repeats: it may be there twice.
    """
    names = [name for name in arrivals.disk.topics if name.endswith(".dlt") or not is_internal(name)]
    disk = arrivals.disk
    found = {
        name: [_entry(DeadLetter.of(*record, disk.cluster)) for record in arrivals.records(name)]
        for name in sorted(names)
    }
    return found if disk.transactional else {name: list(dict.fromkeys(entries)) for name, entries in found.items()}


def differences(expected: Contents, found: Contents, ordered: set[str]) -> list[str]:
    """In what the topics differ, each in a sentence."""
    topics = sorted(expected.keys() | found.keys())
    return [
        f"topic {topic!r}: {problem}"
        for topic in topics
        for problem in _problems(expected.get(topic, ()), found.get(topic, ()), topic in ordered)
    ]


def ordered_topics(subject: Subject, emitted: set[str]) -> set[str]:
    """The topics in which each key's events have one order; `emitted` are those that the test emits to."""
    writers: defaultdict[str, list[str | None]] = defaultdict(list)  # for each, the topics it reads; None: no order
    for topic in emitted:
        writers[topic].append("")
    for spec in subject.manifest.functions:
        letters = dead_letter_topic(subject.app, spec)
        source = spec.topics[0] if len(spec.topics) == 1 and spec.order != "none" else None
        for topic in {*spec.emits, *([letters] if letters else [])}:
            writers[topic].append(source)
    return {topic for topic in writers if _is_ordered(topic, writers, set())}


def _is_ordered(topic: str, writers: Mapping[str, Sequence[str | None]], seen: set[str]) -> bool:
    sources = writers.get(topic, ())
    if topic in seen or len(sources) != 1 or sources[0] is None:
        return False
    return sources[0] == "" or _is_ordered(sources[0], writers, seen | {topic})


def _problems(expected: Sequence[Entry], found: Sequence[Entry], in_order: bool) -> Iterator[str]:
    wanted, there = Counter(expected), Counter(found)
    missing, extra = list((wanted - there).elements()), list((there - wanted).elements())
    known = {entry.id: entry for entry in expected}
    new = {entry.id: entry for entry in extra}
    lost = {entry.id for entry in missing}
    changed = [entry for entry in missing if entry.id in new and known[entry.id] != new[entry.id]]
    yield from _some("missing", [entry for entry in missing if entry not in changed])
    yield from (f"changed: {entry}, is now {_short(new[entry.id].value)}" for entry in changed[:_MOST])
    others = [entry for entry in extra if entry.id not in lost]
    yield from _some("doubled", [entry for entry in others if entry in wanted])
    yield from _some("not there without the crash", [entry for entry in others if entry not in wanted])
    if in_order and not missing and not extra:
        for key in dict.fromkeys(entry.key for entry in expected if entry.key is not None):
            before = [entry.id for entry in expected if entry.key == key]
            after = [entry.id for entry in found if entry.key == key]
            if before != after:
                yield f"the events of key {key!r} are in another order: {', '.join(after)}, not {', '.join(before)}"


def _some(what: str, entries: Sequence[Entry]) -> Iterator[str]:
    yield from (f"{what}: {entry}" for entry in entries[:_MOST])
    if len(entries) > _MOST:
        yield f"{what}: {len(entries) - _MOST} more"


def _entry(event: StoredEvent) -> Entry:
    error = f"{event.function} gave up: {event.error_type}" if isinstance(event, DeadLetter) and event.function else ""
    return Entry(event.id, event.type, event.key, event.value, error)


def _short(value: bytes | None) -> str:
    text = "no data" if value is None else value.decode("utf-8", "replace")
    return text if len(text) <= 200 else f"{text[:200]}…"
