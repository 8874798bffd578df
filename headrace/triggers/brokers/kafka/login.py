"""Getting in: starting aiokafka's clients, and why that failed.

aiokafka only logs why a connection could not be made, and takes a refused token for an accepted one. So after a failure
one more connection is made, by us, whose failure we see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import errors
from aiokafka.conn import collect_hosts

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.bearer import Bearer
from headrace.triggers.brokers.kafka.probe import Probe
from headrace.triggers.brokers.kafka.settings import KafkaSettings
from headrace.triggers.brokers.kafka.tls import Host


async def begin(start: Callable[[], Awaitable[Any]], client: Any, settings: KafkaSettings) -> None:
    """Start something of aiokafka with `start()`; `client` is what holds its connections.

    Raises `BrokerUnavailable` if the cluster cannot be reached, `BrokerError` if it does not let us in.
    """
    inside.bootstrap_well(client)
    try:
        await start()
    except errors.KafkaConnectionError as error:
        raise await reason(settings) from error
    if not inside.knows_brokers(client):
        raise await reason(settings)


async def begin_asking(client: Any, settings: KafkaSettings) -> None:
    """`begin` for a bare client, which is then connected to one of the brokers that the cluster has."""
    await begin(client.bootstrap, client, settings)
    brokers = list(client.cluster.brokers())
    for broker in brokers:
        if await client.ready(broker.nodeId):
            return
    raise await reason(settings, [(broker.host, broker.port) for broker in brokers])


async def reason(settings: KafkaSettings, advertised: list[Host] | None = None) -> BrokerError:
    """Why a cluster cannot be used, found out at the addresses that are set, or at those of its brokers."""
    if isinstance(bearer := settings.security.get("sasl_oauth_token_provider"), Bearer) and bearer.trouble:
        return bearer.trouble
    hosts = advertised or [(host, port) for host, port, _ in collect_hosts(settings.bootstrap, randomize=False)]
    found = await asyncio.gather(*(Probe(settings, host).reason() for host in hosts))
    refusals = [one for one in found if one is not None and not isinstance(one, BrokerUnavailable)]
    why = next(iter(refusals or [one for one in found if one is not None]), None)
    if why is None:
        return BrokerUnavailable(f"Kafka at {settings.place} could not be reached a moment ago; it answers now")
    if advertised:
        return type(why)(f"{why} (its address is what the cluster itself says: advertised.listeners)")
    return why
