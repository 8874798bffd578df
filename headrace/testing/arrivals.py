"""Arrivals: in which order records came into each topic, over all its partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from headrace.runtime.ports import Partition, Record
from headrace.triggers.brokers.memory import Disk


class Arrivals:
    """Watches a disk, from the first record on; `disk` is another one after a crash, with the same topics."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._seen: defaultdict[Partition, int] = defaultdict(int)
        self._order: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self.watch(disk)

    def watch(self, disk: Disk) -> None:
        """Go on with this disk."""
        self.disk = disk
        disk.watchers[self] = self._look

    def records(self, topic: str) -> Iterator[tuple[Partition, Record]]:
        """All records of a topic in the order they came. Raises `UnknownTopic`."""
        self.disk.topic(topic)
        for number, offset in self._order[topic]:
            (record,), _ = self.disk.journal((topic, number)).take(offset, 1)
            yield (topic, number), record

    def _look(self) -> None:
        for name, topic in self.disk.topics.items():
            for number, journal in enumerate(topic.journals):
                seen = self._seen[name, number]
                if seen < journal.end:
                    self._order[name] += [(number, offset) for offset in range(seen, journal.end)]
                    self._seen[name, number] = journal.end

    def __repr__(self) -> str:
        return f"<Arrivals: {sum(self._seen.values())} records in {len(self._order)} topics>"
