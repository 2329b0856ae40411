"""Inputs on their way: each is here from when it came to when it is let go, in whatever order that happens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manyhands._engine import sources
from manyhands._engine.sources import GrowingSource

FEW = st.integers(0, 40)


@given(st.lists(st.tuples(st.sampled_from(["extend", "skip", "discard", "keep"]), FEW, FEW), max_size=30))
def test_inputs_are_those_that_came_and_were_not_let_go(steps):
    source, expected, count = GrowingSource(), {}, 0
    original, sources.BLOCK = sources.BLOCK, 8  # so that a few inputs fill several
    try:
        for what, first, length in steps:
            start, stop = min(first, count), min(first + length, count)
            if what == "extend":
                items = [f"input {count + offset}" for offset in range(length)]
                source.extend(items)
                expected.update(enumerate(items, count))
                count += length
            elif what == "skip":
                source.skip(length)
                count += length
            elif what == "discard":
                source.discard(start, stop)
                for task in range(start, stop):
                    expected.pop(task, None)
            else:
                back = [f"back {task}" for task in range(start, stop)]
                source.keep(start, back)
                expected.update(enumerate(back, start))
            assert source.count == count
            for task in range(count):
                assert source.items(task, task + 1) == ([expected[task]] if task in expected else [])
            there = [task for task in range(count) if all(t in expected for t in range(task, count))]
            if there:
                assert source.items(there[0], count) == [expected[task] for task in range(there[0], count)]
    finally:
        sources.BLOCK = original


def test_what_was_let_go_takes_no_memory():
    source = GrowingSource()
    for start in range(0, 100_000, 100):
        source.extend(range(start, start + 100))
        source.discard(start, start + 50)
        source.discard(start + 50, start + 100)
    assert len(source._blocks) <= 1
