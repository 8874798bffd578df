"""Groups with members in several clients: who has what, and how it changes hands."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from headrace.functions.errors import BrokerError, BrokerUnavailable, Fenced
from headrace.runtime.ports import Settlement

ORDERS = [("orders", 0), ("orders", 1), ("orders", 2)]


class Owner:
    """Keeps what it owns up to date, with epochs, and writes down every call in a history that owners share."""

    def __init__(self, name: str, history: list | None = None) -> None:
        self.name = name
        self.history = [] if history is None else history
        self.owned = {}
        self.member = None

    async def assigned(self, partitions):
        self.history.append((self.name, "assigned", sorted(one.partition for one in partitions)))
        for one in partitions:
            self.owned[one.partition] = one
            if self.member is not None:
                self.member.seek(one.partition, one.watermark or 0)

    async def revoked(self, partitions):
        self.history.append((self.name, "revoked", sorted(partitions)))
        for partition in partitions:
            del self.owned[partition]

    async def join(self, store, group="app.f", topics=("orders",)):
        self.member = await store.join(group, topics, self)
        for one in self.owned.values():
            self.member.seek(one.partition, one.watermark or 0)
        return self


async def wait_until(condition, broker):
    async with asyncio.timeout(60):
        while not condition():
            await broker.changed(0.005)


async def settle(store, settlement):
    while True:
        try:
            return await store.settle(settlement)
        except BrokerUnavailable:  # a transaction was fenced: whether it is written, the same again tells
            await asyncio.sleep(0)


async def test_members_share_all_partitions_and_no_partition_is_had_twice(broker, client):
    owners = [await Owner(f"m{n}").join(await client()) for n in range(3)]
    await wait_until(lambda: [len(owner.owned) for owner in owners] == [1, 1, 1], broker)
    assert sorted(p for owner in owners for p in owner.owned) == ORDERS


async def test_a_member_more_than_there_are_partitions_waits_and_takes_over(broker, client):
    owners = [await Owner(f"m{n}").join(await client()) for n in range(4)]
    await wait_until(lambda: sorted(len(owner.owned) for owner in owners) == [0, 1, 1, 1], broker)
    (spare,) = [owner for owner in owners if not owner.owned]
    (one, *_) = [owner for owner in owners if owner.owned]
    await one.member.leave()
    await wait_until(lambda: sorted(p for owner in owners for p in owner.owned) == ORDERS, broker)
    assert len(spare.owned) == 1


async def test_the_old_owner_is_asked_before_the_new_one_is_told_and_what_stays_is_not_touched(broker, client, kind):
    history = []
    one = await Owner("one", history).join(broker)
    two = await Owner("two", history).join(await client())
    await wait_until(lambda: sorted([*one.owned, *two.owned]) == ORDERS, broker)
    (moved,) = two.owned
    if kind.moves_only_what_moves:
        assert history == [("one", "assigned", ORDERS), ("one", "revoked", [moved]), ("two", "assigned", [moved])]
    else:
        assert history[:2] == [("one", "assigned", ORDERS), ("one", "revoked", ORDERS)]
        assert sorted(history[2:]) == [("one", "assigned", sorted(one.owned)), ("two", "assigned", [moved])]


async def test_who_has_its_share_says_so_and_who_lets_go_does_not(broker, client):
    class Telling(Owner):
        async def revoked(self, partitions):
            settled.append(self.member.is_settled)
            await super().revoked(partitions)

    settled = []
    one = await Telling("one").join(broker)
    await wait_until(lambda: one.member.is_settled, broker)
    two = await Owner("two").join(await client())
    await wait_until(lambda: one.member.is_settled and two.member.is_settled, broker)
    assert settled == [False]
    assert sorted([*one.owned, *two.owned]) == ORDERS


async def test_what_is_settled_while_a_partition_is_revoked_reaches_the_next_owner(broker, client):
    class Thorough(Owner):
        async def revoked(self, partitions):
            for partition in partitions:
                await broker.settle(Settlement("app.f", partition, self.owned[partition].epoch, 0, b"last minute"))
            await super().revoked(partitions)

    await Thorough("one").join(broker)
    two = await Owner("two").join(await client())
    ((_, taken),) = two.owned.items()
    assert (taken.watermark, taken.progress) == (0, b"last minute")


async def test_the_old_owner_of_a_partition_is_fenced_and_keeps_the_others(broker, client, read_all):
    one = await Owner("one").join(broker)
    epochs = {partition: assigned.epoch for partition, assigned in one.owned.items()}
    two = await Owner("two").join(await client())
    await wait_until(lambda: sorted([*one.owned, *two.owned]) == ORDERS, broker)
    (moved,) = two.owned
    assert two.owned[moved].epoch > epochs[moved]
    with pytest.raises(Fenced):
        await broker.settle(Settlement("app.f", moved, epochs[moved], 1, b""))
    with pytest.raises(Fenced):  # an epoch is its owner's alone
        await broker.settle(Settlement("app.f", moved, two.owned[moved].epoch, 1, b""))
    for partition, kept in one.owned.items():
        await broker.settle(Settlement("app.f", partition, kept.epoch, 0, b"kept"))
    assert [lag.progress for lag in await broker.lag("app.f")] == [b"kept", b"kept"]


async def test_a_moved_partition_is_polled_by_its_new_owner_alone(broker, client, drain, order):
    one = await Owner("one").join(broker)
    two = await Owner("two").join(await client())
    await wait_until(lambda: sorted([*one.owned, *two.owned]) == ORDERS, broker)
    await broker.append([order(b"%d" % n, partition=n) for n in range(3)])
    found = [await drain(owner.member, len(owner.owned)) for owner in (one, two)]
    assert [set(part) for part in found] == [set(one.owned), set(two.owned)]
    with pytest.raises(BrokerError, match="is not assigned"):
        one.member.seek(next(iter(two.owned)), 0)


async def test_what_a_leaving_member_had_goes_to_those_who_stay(broker, client):
    one = await Owner("one").join(broker)
    two = await Owner("two").join(await client())
    await one.member.leave()
    await wait_until(lambda: sorted(two.owned) == ORDERS, broker)
    assert one.owned == {}


async def test_what_a_client_had_that_closed_without_leaving_goes_to_those_who_stay(broker, client):
    other = await client()
    await Owner("one").join(other)
    two = await Owner("two").join(broker)
    await other.close()
    await wait_until(lambda: sorted(two.owned) == ORDERS, broker)


async def test_every_record_is_settled_once_while_members_come(broker, client, order):
    settled, stores, tasks = [], {}, []

    async def serve(owner):
        while True:
            batch = await owner.member.poll(5)
            epochs = {fetched.partition: owner.owned[fetched.partition].epoch for fetched in batch}
            for fetched in batch:
                epoch = epochs[fetched.partition]
                with suppress(Fenced):  # its next owner begins where this one last settled
                    await settle(stores[owner], Settlement("app.f", fetched.partition, epoch, fetched.next, b""))
                    settled.extend((fetched.partition, record.offset) for record in fetched.records)

    await broker.append([order(b"%d" % n, partition=n % 3) for n in range(150)])
    for n in range(3):
        store = await client()
        owner = await Owner(f"m{n}").join(store)
        stores[owner] = store
        tasks.append(asyncio.create_task(serve(owner)))
        await wait_until(lambda: len(settled) >= 20 * len(tasks), broker)
    await wait_until(lambda: len(settled) >= 150, broker)
    for task in tasks:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {asyncio.CancelledError}
    assert sorted(settled) == [(("orders", p), offset) for p in range(3) for offset in range(50)]
