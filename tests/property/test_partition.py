"""The partition of a key is the one every Kafka client computes."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from headrace.functions.partition import murmur2, partition_of


@given(st.binary(max_size=64))
def test_the_hash_is_the_reference_clients(key: bytes) -> None:
    assert murmur2(key) == reference(key) & 0xFFFFFFFF


@given(st.binary(max_size=64), st.integers(1, 5000))
def test_the_partition_exists_and_is_the_reference_clients(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (reference(key) & 0x7FFFFFFF) % partitions < partitions


@pytest.mark.parametrize(
    ("key", "hash_"),
    # Kafka's own test vectors: org.apache.kafka.common.utils.UtilsTest.testMurmur2
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_kafkas(key: bytes, hash_: int) -> None:
    assert murmur2(key) == hash_ & 0xFFFFFFFF
