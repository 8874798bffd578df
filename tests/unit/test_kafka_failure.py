"""Kafka's failures in words of ours."""

from __future__ import annotations

import pytest
from aiokafka import errors

from headrace.functions.errors import BrokerError, BrokerUnavailable, UnknownTopic
from headrace.triggers.brokers.kafka import KafkaSettings
from headrace.triggers.brokers.kafka.failure import translated, unknown_topic


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), BrokerUnavailable, "writing: Kafka at host:1 did not answer in time"),
        (errors.RequestTimedOutError(), BrokerUnavailable, "did not answer in time"),
        (errors.KafkaConnectionError("gone"), BrokerUnavailable, "cannot be reached: see that it runs"),
        (ConnectionRefusedError(111, "refused"), BrokerUnavailable, "cannot be reached"),
        (errors.NotLeaderForPartitionError(), BrokerUnavailable, "could not do it now"),
        (errors.OutOfOrderSequenceNumber(), BrokerUnavailable, "could not do it now"),
        (errors.KafkaError("Unexpected error"), BrokerUnavailable, "could not do it now"),
        (
            errors.TopicAuthorizationFailedError("orders"),
            BrokerError,
            "does not allow it: grant WRITE on topic 'orders'",
        ),
        (errors.UnknownTopicOrPartitionError("orders/0"), UnknownTopic, "does not know the topic .*orders/0"),
        (errors.InvalidReplicationFactorError("3 of 1"), BrokerError, "refused it .*3 of 1"),
    ],
)
def test_each_failure_says_what_it_is(error, kind, words):
    with pytest.raises(BrokerError, match=words) as caught:
        raise translated(error, "writing", "host:1")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("error", "doing", "right"),
    [
        (errors.TopicAuthorizationFailedError("a"), "polling for group 'g'", "READ on topic 'a'"),
        (errors.TopicAuthorizationFailedError("a/0"), "asking for ends", "DESCRIBE on topic 'a'"),
        (errors.TopicAuthorizationFailedError("topic 'a': no"), "making the topics a, b", "CREATE on topic 'a'"),
        (errors.TopicAuthorizationFailedError({"b", "a"}), "joining group 'g'", "READ on topic 'a', 'b'"),
        (errors.TopicAuthorizationFailedError(), "writing to partition 0 of 'a'", "WRITE on topic 'a'"),
        (
            errors.TopicAuthorizationFailedError(),
            "committing offsets of group 'g' on ('a', 0)",
            "READ on topic 'a'",
        ),
        (errors.GroupAuthorizationFailedError("g"), "joining group 'g'", "READ on group 'g'"),
        (errors.GroupAuthorizationFailedError("group g on a/0"), "asking for offsets", "DESCRIBE on group 'g'"),
        (errors.GroupAuthorizationFailedError(), "committing offsets of group 'g'", "READ on group 'g'"),
        (errors.ClusterAuthorizationFailedError("cluster"), "making the topics a", "CREATE on the cluster"),
        (
            errors.ClusterAuthorizationFailedError("cluster"),
            "writing to partition 0 of 'a'",
            r"WRITE on topic 'a' \(before Kafka 3.0: IDEMPOTENT_WRITE on the cluster\)",
        ),
        (
            errors.TransactionalIdAuthorizationFailed("some words"),
            "beginning transactions as 'g/a/0'",
            "WRITE on transactional id 'g/a/0'",
        ),
    ],
)
def test_a_right_that_is_lacking_is_named_with_what_it_is_on(error, doing, right):
    told = f"{doing}: Kafka at host:1 does not allow it: grant "
    with pytest.raises(
        BrokerError, match=rf"grant {right}; `headrace topics plan` lists all that is needed$"
    ) as caught:
        raise translated(error, doing, "host:1")
    assert str(caught.value).startswith(told)


def test_what_is_ours_already_stays():
    ours = UnknownTopic("as it was")
    assert translated(ours, "writing", "host:1") is ours


def test_an_unknown_topic_names_the_nearest():
    assert "did you mean 'orders'? It is made when" in str(unknown_topic("order", ["emails", "orders"]))
    assert "does not exist on this cluster: it is made when" in str(unknown_topic("order", []))


def test_settings_do_not_show_secrets():
    settings = KafkaSettings(security={"sasl_plain_password": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert settings.client()["sasl_plain_password"] == "hunter2"
