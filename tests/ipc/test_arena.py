"""The allocator, against a model that knows every byte it has handed out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

PAGE = 4096
ARENA_SIZE = 8 * PAGE
# Around the edges of blocks, around the sizes that share a list of free pieces, and anything else.
SIZES = st.one_of(
    st.integers(0, 300),
    st.sampled_from([1024, 1088, 1152, 1216, 1280]),
    st.integers(0, ARENA_SIZE + 100),
)


class ArenaMachine(RuleBasedStateMachine):
    ipc: Any

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Any, bytes]] = []
        self.marks = 0

    @initialize()
    def create(self) -> None:
        self.arena = self.ipc.Arena(size=ARENA_SIZE)

    def taken(self, size: int) -> int:
        """Bytes that a block of `size` takes: whole multiples of the alignment, and at least one."""
        unit: int = self.ipc.ALIGNMENT
        return max(unit, -(-size // unit) * unit)

    def longest_gap(self) -> int:
        longest = end = 0
        for block, _ in sorted(self.held, key=lambda held: held[0].offset):
            longest = max(longest, block.offset - end)
            end = block.offset + self.taken(block.size)
        return max(longest, ARENA_SIZE - end)

    @rule(size=SIZES)
    def allocate(self, size: int) -> None:
        if self.taken(size) > self.longest_gap():
            with pytest.raises(self.ipc.Error, match="Failed to increase the shared memory pool size"):
                self.arena.allocate(size)
            return
        block = self.arena.allocate(size)
        assert block.size == size
        assert block.offset % self.ipc.ALIGNMENT == 0
        assert block.offset + size <= ARENA_SIZE
        self.marks += 1
        content = bytes([self.marks % 256]) * size
        block.write(content)
        self.held.append((block, content))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 10_000))
    def free(self, which: int) -> None:
        block, content = self.held.pop(which % len(self.held))
        assert block.read() == content
        block.free()

    @precondition(lambda self: self.held)
    @rule()
    def free_all(self) -> None:
        while self.held:
            self.held.pop()[0].free()
        self.arena.allocate(ARENA_SIZE).free()

    @rule()
    def give_back(self) -> None:
        """Every page goes that no block is on; what the blocks hold stays."""
        assert self.arena.give_back()
        taken = ((block.offset, block.offset + self.taken(block.size)) for block, _ in self.held)
        pages = {page for start, end in taken for page in range(start // PAGE, -(-end // PAGE))}
        assert self.arena.resident_bytes <= len(pages) * PAGE
        assert self.arena.pool_bytes == min(ARENA_SIZE, -(-self.arena.bytes_in_use // PAGE) * PAGE)
        for block, content in self.held:
            assert block.read() == content

    @rule(smaller=st.integers(0, 14), at=st.integers(0, 14))
    def find_the_one_that_fits(self, smaller: int, at: int) -> None:
        """Free pieces of nearly one size share a list; a full arena has to look at all of it."""
        first = len(self.held)
        for number in range(smaller + 1):
            self.allocate(1216 if number == at else 1024)
            self.allocate(64)
        while self.longest_gap() >= 1024:
            self.allocate(self.longest_gap())
        pieces = [held for held in self.held[first:] if held[0].size in (1024, 1216)]
        self.held = [held for held in self.held if held not in pieces]
        for block, _ in pieces:
            block.free()
        self.allocate(1216)

    @invariant()
    def blocks_do_not_overlap(self) -> None:
        spans = sorted((block.offset, block.offset + self.taken(block.size)) for block, _ in self.held)
        for (_, end), (start, _) in zip(spans, spans[1:]):
            assert end <= start

    @invariant()
    def every_byte_is_counted(self) -> None:
        assert self.arena.bytes_in_use == sum(self.taken(block.size) for block, _ in self.held)

    def teardown(self) -> None:
        for block, content in self.held:
            assert block.read() == content
            block.free()
        assert self.arena.allocate(ARENA_SIZE).offset == 0


def test_an_arena_hands_out_every_byte_once_and_takes_it_back(ipc: Any) -> None:
    class Machine(ArenaMachine):
        pass

    Machine.ipc = ipc
    run_state_machine_as_test(
        Machine, settings=settings(deadline=None, max_examples=100, stateful_step_count=40)
    )
