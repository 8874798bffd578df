"""A real Kafka broker for tests and for `make kafka`: KRaft, one node, from pinned artifacts, gone with its parent."""

from kafkaserver.java import NoBroker
from kafkaserver.process import BrokerFailed
from kafkaserver.security import Security
from kafkaserver.server import KafkaServer

__all__ = ["BrokerFailed", "KafkaServer", "NoBroker", "Security"]
