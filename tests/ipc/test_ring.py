"""A ring, against a deque."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

LAST_INDEX = 2**32 - 1
BODIES = st.builds(lambda size, fill: bytes([fill]) * size, st.integers(0, 300), st.integers(0, 255))
CAPACITIES = st.sampled_from([1, 2, 4, 8])
# Ordinary places, and places whose next messages cross the end of the 32-bit indices.
STARTS = st.one_of(st.just(0), st.integers(LAST_INDEX - 20, LAST_INDEX), st.integers(0, LAST_INDEX))


class RingMachine(RuleBasedStateMachine):
    ipc: Any

    def __init__(self) -> None:
        super().__init__()
        self.in_ring: deque[tuple[int, bytes]] = deque()
        self.given_back: list[int] = []  # bytes of blocks that the producer has not looked for yet
        self.pushed = 0

    @initialize(capacity=CAPACITIES, start=STARTS)
    def create(self, capacity: int, start: int) -> None:
        self.capacity = capacity
        self.ring = self.ipc.Ring(capacity=capacity, arena_size=64 * 1024, start=start)

    def taken(self, body: bytes) -> int:
        unit: int = self.ipc.ALIGNMENT
        return -(-len(body) // unit) * unit

    @rule(body=BODIES)
    def push(self, body: bytes) -> None:
        has_room = len(self.in_ring) < self.capacity

        assert self.ring.push(self.pushed + 1, body) == has_room

        self.given_back.clear()
        if has_room:
            self.pushed += 1
            self.in_ring.append((self.pushed, body))

    @rule()
    def peek(self) -> None:
        assert self.ring.peek() == (self.in_ring[0] if self.in_ring else None)

    @rule(count=st.integers(1, 8))
    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.in_ring))):
            message = self.in_ring.popleft()
            assert self.ring.peek() == message
            self.ring.advance()
            self.given_back.append(self.taken(message[1]))

    @rule()
    def reclaim(self) -> None:
        self.ring.reclaim()
        self.given_back.clear()

    @invariant()
    def blocks_live_as_long_as_their_message(self) -> None:
        in_flight = sum(self.taken(body) for _, body in self.in_ring)
        assert self.ring.bytes_in_use == in_flight + sum(self.given_back)

    @invariant()
    def every_push_is_counted(self) -> None:
        assert self.ring.pushed == self.pushed

    def teardown(self) -> None:
        while self.in_ring:
            assert self.ring.peek() == self.in_ring.popleft()
            self.ring.advance()
        assert self.ring.peek() is None
        self.ring.reclaim()
        assert self.ring.bytes_in_use == 0


def test_a_ring_loses_repeats_and_reorders_nothing(ipc: Any) -> None:
    class Machine(RingMachine):
        pass

    Machine.ipc = ipc
    run_state_machine_as_test(
        Machine, settings=settings(deadline=None, max_examples=100, stateful_step_count=40)
    )


@settings(deadline=None, max_examples=300)
@given(capacity=CAPACITIES, start=STARTS, pushed=st.integers(0, 8), tail=st.integers(0, LAST_INDEX))
def test_a_tail_is_believed_only_within_the_ring(
    ipc: Any, capacity: int, start: int, pushed: int, tail: int
) -> None:
    ring = ipc.Ring(capacity=capacity, arena_size=4096, start=start)
    for number in range(min(pushed, capacity)):
        assert ring.push(number, b"")
        ring.advance()
    head = start + min(pushed, capacity)
    ring.set_tail(tail)

    ahead = (tail - head) % 2**32

    if ahead > capacity:
        with pytest.raises(ipc.ProtocolError, match="tail"):
            ring.peek()
    else:
        assert (ring.peek() is None) == (ahead == 0)


@settings(deadline=None, max_examples=300)
@given(
    capacity=CAPACITIES,
    start=STARTS,
    pushed=st.integers(0, 8),
    given_back=st.integers(0, 8),
    head=st.one_of(st.integers(0, LAST_INDEX), st.integers(-10, 10)),
)
def test_a_head_is_believed_only_from_where_it_was_to_the_tail(
    ipc: Any, capacity: int, start: int, pushed: int, given_back: int, head: int
) -> None:
    pushed = min(pushed, capacity)
    given_back = min(given_back, pushed)
    ring = ipc.Ring(capacity=capacity, arena_size=4096, start=start)
    for number in range(pushed):
        assert ring.push(number, b"body")
    for _ in range(given_back):
        ring.advance()
    ring.reclaim()
    moved = head % 2**32  # from where it started
    ring.set_head((start + moved) % 2**32)

    if given_back <= moved <= pushed:
        ring.reclaim()
        assert ring.bytes_in_use == (pushed - moved) * ipc.ALIGNMENT
    else:
        with pytest.raises(ipc.ProtocolError, match="head"):
            ring.reclaim()
        assert ring.bytes_in_use == (pushed - given_back) * ipc.ALIGNMENT
