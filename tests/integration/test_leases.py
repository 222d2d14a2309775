"""Leases on a real Redis: one holder, renewal, taking up again after Redis lost its memory, release."""

from __future__ import annotations

import time

import pytest
import redis

from config.queues import lease_name
from scheduler.inflight import RedisInFlight, message_keys
from tasks.lease import Leases
from tests.rig import Rig

KEY = "c" * 64


@pytest.fixture
def client(rig: Rig) -> redis.Redis:
    rig.start("redis")
    return rig.client


def test_one_holder_at_a_time(client: redis.Redis) -> None:
    first, second = Leases(client, 5), Leases(client, 5)
    assert first.acquire(KEY)
    assert not second.acquire(KEY)
    first.release([KEY])
    assert second.acquire(KEY)
    second.close()
    assert client.get(lease_name(KEY)) is None


def test_lease_is_renewed_past_its_life(client: redis.Redis) -> None:
    leases = Leases(client, 0.6)
    assert leases.acquire(KEY)
    time.sleep(1.5)
    assert RedisInFlight(client, 0.6).leased([KEY]) == {KEY}
    leases.close()
    assert RedisInFlight(client, 0.6).leased([KEY]) == frozenset()


def test_lease_comes_back_after_a_wipe(client: redis.Redis) -> None:
    leases = Leases(client, 0.6)
    leases.acquire(KEY)
    client.flushall()
    time.sleep(0.5)
    assert client.get(lease_name(KEY)) is not None
    assert not leases.lost(KEY)
    leases.close()


def test_holder_learns_that_it_was_replaced(client: redis.Redis) -> None:
    leases = Leases(client, 0.6)
    leases.acquire(KEY)
    client.set(lease_name(KEY), "another")
    time.sleep(0.5)
    assert leases.lost(KEY)
    leases.close()
    assert client.get(lease_name(KEY)) == b"another", "a lease of somebody else is left alone"


def test_empty_redis_settles_for_one_lease(client: redis.Redis) -> None:
    in_flight = RedisInFlight(client, 0.5)
    assert in_flight.settling()
    time.sleep(0.7)
    assert not in_flight.settling()
    client.flushall()
    assert in_flight.settling()


@pytest.mark.parametrize("message", [b"", b"not json", b"{}", b'{"body": 3}', b'{"body": "e30="}', b'{"body": "!"}'])
def test_foreign_messages_hold_no_keys(message: bytes) -> None:
    assert message_keys(message) == ()
