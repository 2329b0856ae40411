"""mh.compare and manyhands compare: results first, then times; what is said about them; charts and pages."""

from __future__ import annotations

import dataclasses
import html.parser
import importlib.util
import itertools
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watching import eventually

import manyhands as mh
from manyhands.comparison import agreement, charts, files, function_words, intervals, judging, machine, words
from manyhands.comparison.comparison import Comparison, WayMeasured
from manyhands.comparison.functions import FunctionComparison, FunctionMeasured, break_even
from manyhands.showing import short_repr

pytestmark = pytest.mark.timeout(100)


def square(x):
    return x * x


# --- whether results agree ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Plain:
    def __init__(self, value):
        self.value = value


class Slotted:
    __slots__ = ("__dict__", "value")

    def __init__(self, value):
        self.value = value
        self.other = 1


def holding_itself():
    found = [1]
    found.append(found)
    return found


def nested(levels):
    found = [1]
    for _ in range(levels):
        found = [found]
    return found


def masked(values, mask):
    return np.ma.array(values, mask=mask)


NAN = float("nan")
SAME = [
    (1, 1),
    (0.1 + 0.2, 0.3),
    (1, 1.0),
    (NAN, NAN),
    (1 + 2j, 1 + 2j),
    ("a", "a"),
    ([1, (2, {"a": 0.1 + 0.2})], [1, (2, {"a": 0.3})]),
    ({1, 2}, {2, 1}),
    (range(3), range(3)),
    (Point(0.1 + 0.2, 1), Point(0.3, 1)),
    (Plain([1]), Plain([1])),
    (np.arange(3), np.arange(3)),
    (np.array([0.1 + 0.2, NAN]), np.array([0.3, NAN])),
    (np.zeros(0), np.zeros(0)),
    (np.array(2.0), np.array(2.0)),
    ({"a": np.ones(2)}, {"a": np.ones(2)}),
    (np.array(["NaT", "2026-01-01"], "M8[D]"), np.array(["NaT", "2026-01-01"], "M8[D]")),
    (np.array([NAN, "a", np.arange(2)], object), np.array([NAN, "a", np.arange(2)], object)),
    (np.array([(1, NAN)], "i4,f8"), np.array([(1, NAN)], "i4,f8")),
    (holding_itself(), holding_itself()),
    (Decimal("sNaN"), Decimal("sNaN")),
    (masked([1.0, 2.0], [0, 1]), masked([1.0, 9.0], [0, 1])),
    (np.ma.masked, np.ma.masked),
    (np.array(None), np.array(None)),
]
APART = [
    (1, 2, "1 and 2"),
    (10**18, 10**18 + 1, "and 1000000000000000001"),
    (1.0, 1.001, "1.0 and 1.001"),
    (True, 1, "True and 1"),
    ("a", b"a", "'a' and b'a'"),
    ([1, 2], [1, 3], "at [1]: 2 and 3"),
    ([1], [1, 2], "the length: 1 and 2"),
    ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "at ['a'][1]['b']: 2 and 3"),
    ({"a": 1}, {"b": 1}, "the keys"),
    (Point(1, 2), Point(1, 3), "at .y: 2 and 3"),
    (Plain(1), Plain(2), "['value']: 1 and 2"),
    (np.arange(3), np.array([0, 9, 2]), "at [1]: 1 and 9 (1 of 3 differ)"),
    (np.arange(3), np.arange(4), "shape (3,) and an array of int64, shape (4,)"),
    (np.zeros(2), np.zeros(2, "f4"), "array of float32"),
    (np.array(2.0), np.array(3.0), "2.0 and"),
    ([1], (1,), "[1] and (1,)"),
    (np.zeros(2), [0.0, 0.0], "and [0.0, 0.0]"),
    (np.array([1, "a"], object), np.array([1, "b"], object), "at [1]: 'a' and 'b'"),
    (KeyError("a"), KeyError("b"), "'a' and 'b'"),
    (Slotted(1), Slotted(2), "['value']: 1 and 2"),
    (Decimal("1.0000000001"), Decimal("1.0000000002"), "Decimal"),
    (masked([1.0, 2.0], [0, 1]), masked([1.0, 2.0], [0, 0]), "at [1]: masked and 2.0 (1 of 2 differ)"),
    (masked([1, 2], [0, 1]), masked([3, 2], [0, 1]), "at [0]: 1 and 3 (1 of 2 differ)"),
    (np.ma.masked, 0.0, "masked and 0.0"),
    (nested(5000), nested(4999), "nested too deep to be compared"),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=range(len(SAME)))
def test_equal_or_close_results_agree(one, other):
    assert agreement.difference(one, other) is None
    assert agreement.difference(other, one) is None


@pytest.mark.parametrize(("one", "other", "told"), APART, ids=range(len(APART)))
def test_where_results_differ_is_told(one, other, told):
    assert told in agreement.difference(one, other)
    assert agreement.difference(other, one)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (1, 3, 2.0),
        ([1.0, 2], [1.5, 2], 0.5),
        ({"a": 1}, {"a": 1}, 0.0),
        (np.zeros(3), np.array([0, 0.25, 0]), 0.25),
        ("a", "a", 0.0),
        ("a", "b", None),
        ([1], [1, 2], None),
        (np.zeros(0), np.zeros(0), 0.0),
        (NAN, NAN, 0.0),
        (NAN, 1.0, math.inf),
        (np.array([NAN, 1.0]), np.array([NAN, 1.5]), 0.5),
        (np.array([NAN]), np.array([1.0]), math.inf),
        (np.array([True, False]), np.array([True, False]), 0.0),
        (np.array([True]), np.array([False]), None),
        (np.array(["a"]), np.array(["a"]), 0.0),
        (np.array([None, "a"]), np.array([None, "a"]), 0.0),
        (np.array([2**60]), np.array([2**60 + 1]), 1.0),
        (np.array([1, 2], np.uint8), np.array([2, 1], np.uint8), 1.0),
        (2**60, 2**60 + 1, 1.0),
        (10**400, 1, math.inf),
        (Decimal(1), 1.0, 0.0),
        (Decimal("sNaN"), Decimal("sNaN"), 0.0),
        (Decimal("sNaN"), Decimal(1), None),
        (np.float64(2), np.float64(2.5), 0.5),
        (np.array([-100, 5], np.int8), np.array([100, 5], np.int8), 200.0),
        (np.array([-(2**63)]), np.array([2**63 - 1]), 2.0**64),
        (Point(1.0, 2.0), Point(1.5, 2.0), 0.5),
        (masked([1.0, 2.0], [0, 1]), masked([1.5, 9.0], [0, 1]), 0.5),
        (masked([1.0, 2.0], [0, 1]), masked([1.0, 2.0], [0, 0]), None),
        (np.array([1, 2], object), np.array([1, 4], object), 2.0),
        (holding_itself(), holding_itself(), 0.0),
        (nested(5000), nested(5000), None),
    ],
    ids=short_repr,
)
def test_the_largest_difference_of_numbers(one, other, apart):
    assert agreement.largest_difference(one, other) == apart


# --- how sure it is -----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=3, max_size=9))
def test_the_interval_holds_the_ratio_of_the_medians_or_touches_it(pairs):
    times, base = zip(*pairs, strict=True)
    low, high = intervals.ratio_interval(times, base)
    assert min(times) / max(base) <= low <= high <= max(times) / min(base)
    assert intervals.ratio_interval(times, base) == (low, high)


def test_what_slows_a_round_down_slows_both_and_leaves_the_ratio_sure():
    base = [1.0, 5.0, 1.5, 3.0, 1.0, 2.0, 8.0]
    low, high = intervals.ratio_interval([time / 2 for time in base], base)
    assert low == high == 0.5


def measured(strategy, cold, *, workers=None, base=(10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.0), warm=None):
    cold = tuple(cold)
    low, high = intervals.ratio_interval(cold, base)
    ratio = low, median(cold) / median(base), high
    warm = tuple(warm or cold)
    warm_ratio = (median(warm) / median(base),) * 3
    return WayMeasured(strategy, workers, cold, warm, ratio, warm_ratio, 0.9, 1.0, 10**7, 1000, 0.001, 0.02)


def around(middle, spread=0.01):
    return [middle * (1 + spread * step) for step in (0, 1, -1, 0.5, -0.5, 0.2, 0)]


def found(*rows, **more):
    facts = {"function": "f", "tasks": 100, "rounds": 7, "cores": 2, "seconds_per_task": 0.1, "waiting": False}
    return Comparison(**facts | more, rows=tuple(rows), best=judging.best(rows))


LOOP = measured("loop", (10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.0))


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        (
            [measured("processes", around(5.2), workers=2), measured("threads", around(10.2), workers=2)],
            "processes × 2",
        ),
        ([measured("processes", around(5.2), workers=2), measured("auto", around(5.25))], "auto"),
        ([measured("processes", around(5.2), workers=2), measured("auto", around(6.0))], "processes × 2"),
        ([measured("processes", around(9.9, 0.2), workers=2)], "loop"),
        ([measured("processes", around(14), workers=2)], "loop"),
        ([measured("threads", around(5), workers=4), measured("threads", around(5.02), workers=2)], "threads × 2"),
        ([], "loop"),
    ],
)
def test_the_simplest_of_the_quickest_is_taken(rows, best):
    assert found(LOOP, *rows).best.label == best


def test_verdicts():
    quick = found(LOOP, measured("processes", around(5.2), workers=2))
    assert "processes × 2 take 0.52 × the loop's time, 5.2 s instead of 10 s (between 0.5" in quick.verdict
    assert quick.verdict.endswith("Write: mh.map(func, items, backend='processes', workers=2)")
    slow = found(LOOP, measured("processes", around(14), workers=2), seconds_per_task=0.001)
    assert slow.verdict.startswith("The loop is the quickest: processes × 2 takes 1.40 × its time")
    assert "A task takes 1 ms; from 20 ms on, processes × 2 would pay." in slow.verdict
    threads = dataclasses.replace(measured("threads", around(12), workers=2), crossover=None)
    both = found(LOOP, threads, measured("processes", around(14), workers=2), seconds_per_task=0.001)
    assert "threads × 2 takes 1.20 × its time" in both.verdict
    assert "from 20 ms on, processes × 2 would pay." in both.verdict
    assert "达到 20 ms 以上时，用进程 × 2 才合算" in dataclasses.replace(both, language="zh").verdict
    tie = found(LOOP, measured("processes", around(9.9, 0.2), workers=2))
    assert "o significant difference" in tie.verdict
    assert "safe" in found(LOOP, measured("threads", around(5), workers=2)).verdict
    warm = found(LOOP, measured("processes", around(14), workers=2, warm=around(5)))
    assert "With workers that are there already, processes × 2 would take 0.50 × the loop's time" in warm.verdict
    assert "没有显著差异" in dataclasses.replace(tie, language="zh").verdict
    assert "0.52" in dataclasses.replace(quick, language="zh").verdict
    assert found(LOOP).verdict.startswith("The loop takes 10 s")


def test_what_is_long_or_large_is_told_without_an_exponent():
    rows = LOOP, dataclasses.replace(measured("processes", around(1234), workers=2), sent=2_345_678_901)
    told = found(*rows).table()
    assert "1234 s" in told
    assert " 2346 " in told
    assert "e+" not in told


def test_warnings():
    rows = [LOOP, measured("processes", around(5), workers=8)]
    told = list(words.warnings("en", rows, [1.1], 1.9, 2, waiting=False))
    assert [text.split()[0] for text in told] == ["other", "processes", "the"]
    assert list(words.warnings("en", rows, [0.1], 1.0, 8, waiting=False)) == []
    assert list(words.warnings("en", rows, [0.1], 0.01, 2, waiting=True)) == []
    uneven = [measured("loop", (1.0, 2.0, 1.0))]
    assert "took 1 s to 2 s" in next(words.warnings("en", uneven, [], 1.0, 2, waiting=False))


@pytest.mark.parametrize(
    ("cold", "warm", "serial", "seconds"),
    [
        (
            6.0,
            5.0,
            False,
            0.02,
        ),  # starting costs 1 s, half of the time is gained: 200 tasks of 0.01 s more would pay it
        (10.5, 10.2, True, None),  # threads that take turns: never
        (30.0, 29.0, False, 0.5),  # it costs 0.25 s a task to send them
        (5.0, 5.0, True, 0.0),  # threads that do not
    ],
)
def test_how_long_a_task_must_be(cold, warm, serial, seconds):
    found = intervals.crossover(cold, warm, loop=10.0, tasks=100, share=2, serial=serial)
    assert found == pytest.approx(seconds) if seconds is not None else found is None
    assert intervals.crossover(cold, warm, loop=10.0, tasks=100, share=1, serial=serial) is None


def test_what_is_only_noise_is_not_recommended():
    noisy = measured("auto", (9.0, 11.0, 9.1, 10.9, 8.9, 11.1, 9.0))
    assert noisy.ratio[0] < 1 < noisy.ratio[2]
    assert found(LOOP, noisy).best.label == "loop"
    little = measured("processes", around(9.85, 0.001), workers=2, base=(10.0,) * 7)
    told = found(measured("loop", (10.0,) * 7, base=(10.0,) * 7), little)
    assert told.best.label == "loop"
    assert told.verdict.startswith("No difference that is worth a change")


@pytest.mark.parametrize(
    ("first", "later", "other_first", "other_later", "calls"),
    [(1.0, 0.1, 0.2, 0.2, 9), (0.1, 0.1, 0.2, 0.2, 1), (1.0, 0.2, 0.2, 0.1, None), (0.5, 0.1, 0.5, 0.2, 1)],
)
def test_from_how_many_calls_on_a_function_pays(first, later, other_first, other_later, calls):
    assert break_even(first, later, other_first, other_later) == calls
    if calls and calls > 1:
        gained = [other_first - first + (n - 1) * (other_later - later) for n in (calls - 1, calls)]
        assert gained[0] < 0 <= round(gained[1], 9)


# --- the comparison -----------------------------------------------------------------------------------------


def test_a_comparison_has_every_round_of_every_strategy():
    found = mh.compare(square, range(50), workers=[1, 2], rounds=3, seed=1)
    labels = ["loop", *[f"{name} × {n}" for name in ("threads", "processes", "auto") for n in (1, 2)]]
    assert [row.way.label for row in found.rows] == labels
    assert all(len(row.cold) == len(row.warm) == 3 for row in found.rows)
    assert (found.tasks, found.rounds, found.cores, found.function) == (50, 3, mh.cpu_count(), "square")
    assert found.best.label == "loop"
    processes = found.rows[3]
    assert processes.sent > 0
    assert processes.overhead > 0
    assert found.rows[1].sent == 0
    assert found.rows[0].ratio == (1.0, 1.0, 1.0)
    if sys.platform == "linux":
        assert processes.memory > found.rows[0].memory > 1 << 20
        assert processes.cpu is not None
    data = json.loads(found.to_json())
    assert data["rows"][3]["cold"] == list(processes.cold)
    assert data["verdict"] == found.verdict
    assert str(found).count("\n") >= len(labels)
    assert found.to_markdown().count("\n| ") == len(labels) + 2


def test_cold_rounds_begin_without_workers_and_warm_ones_with_those_of_the_round_before(tmp_path):
    def task(_):
        (tmp_path / str(os.getpid())).touch()

    mh.compare(task, range(4), strategies=["processes"], workers=2, rounds=3)
    pids = {file.name for file in tmp_path.iterdir()} - {str(os.getpid())}
    assert 4 <= len(pids) <= 2 * 4  # the check and three cold rounds, of two workers at most; warm ones start none


def test_other_results_under_threads_are_caught():
    meeting = threading.Barrier(2)
    last = []

    def careless(x):
        last[:] = [x]
        if threading.current_thread() is not threading.main_thread():
            meeting.wait(20)
        return last[0]

    with pytest.raises(mh.ResultsDiffer, match=r"threads × 2 gives another result for item \d, \d, than the loop") as e:
        mh.compare(careless, range(4), strategies=["threads"], workers=2)
    assert e.value.name == "threads × 2"
    assert e.value.index in range(4)


def test_a_loop_that_gives_other_results_the_second_time_is_caught():
    numbers = itertools.count()
    with pytest.raises(mh.ResultsDiffer, match="than it gave before: 0 and 3") as caught:
        mh.compare(lambda _: next(numbers), range(3))
    assert (caught.value.name, caught.value.index) == ("loop", 0)


def test_own_ways_to_compare_results():
    source = random.Random(1)

    def estimate(_):
        return source.random()

    found = mh.compare(estimate, range(3), strategies=["threads"], rounds=3, equal=lambda a, b: abs(a - b) < 1)
    assert len(found.rows) == 2


def test_a_function_that_changes_its_inputs_is_told_of():
    found = mh.compare(list.sort, [[3, 1], [2, 1]], strategies=["threads"], rounds=3)
    assert any("changes its inputs" in warning for warning in found.warnings)


def test_errors_of_tasks_come_as_themselves():
    with pytest.raises(ZeroDivisionError):
        mh.compare(lambda x: 1 // x, [1, 0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"items": []}, "nothing to compare"),
        ({"rounds": 2}, "3 or more"),
        ({"strategies": ["thread"]}, "got 'thread'"),
        ({"workers": 0}, "1 and more"),
        ({"workers": [1, True]}, "1 and more"),
        ({"language": "fr"}, "'en' or 'zh'"),
        ({"func": 3}, "function to run"),
    ],
    ids=str,
)
def test_wrong_arguments_are_told_before_anything_runs(arguments, told):
    called = []
    given = {"func": called.append, "items": [1]} | arguments
    with pytest.raises(mh.OptionError, match=told):
        mh.compare(**given)
    assert not called


def slow_sum(values):
    total = 0
    for value in values:
        total += value
    return total


def wrong_sum(values):
    return sum(values) + 0.5


def test_functions_are_compared():
    found = mh.compare_functions([slow_sum, sum], [list(range(2000))] * 20, rounds=5)
    assert [row.name for row in found.rows] == ["slow_sum", "sum"]
    assert [len(row.steady) for row in found.rows] == [5, 5]
    assert found.rows[1].difference == 0
    assert "slow_sum" in str(found)
    assert json.loads(found.to_json())["rows"][0]["steady"] == list(found.rows[0].steady)


def test_the_first_call_of_a_function_stands_apart():
    """It may compile: those after it may not be counted with it."""
    calls = []

    def counted(values):
        calls.append(values)
        return sum(values)

    mh.compare_functions([slow_sum, counted], [[1], [2]], rounds=3)
    assert calls == [[1], [2]] * 4  # the first round is for the results and the first call


def function(name, steady, *, first=0.001, base=0.01, even=1):
    return FunctionMeasured(
        name, first, (steady,) * 3, (steady / base * 0.99, steady / base, steady / base * 1.01), 0.0, even
    )


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (
            function("f", 0.005),
            "f is the quickest: later calls take 0.50 × the time of slow (between 0.49 and 0.51)",
        ),
        (function("f", 0.005, first=1.0, even=200), "Its first call takes 1 s, so it pays from 200 calls on."),
        (function("f", 0.02, even=None), "slow is the quickest; f takes 2.00 × its time"),
        (function("f", 0.0101), "no significant difference between slow and f."),
    ],
)
def test_verdicts_about_functions(other, verdict):
    found = FunctionComparison((function("slow", 0.01), other), 20, 3, 2, "")
    assert verdict in found.verdict
    assert "95" not in found.verdict
    assert not dataclasses.replace(found, language="zh").verdict.isascii()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("sum", "max"), "max 最快：之后每次调用的用时是 sum 的 0.50 倍"),
        (("甲", "乙"), "乙最快：之后每次调用的用时是甲的 0.50 倍"),
    ],
)
def test_chinese_has_a_space_beside_names_in_latin_characters(names, told):
    found = mh.compare_functions([sum, sum], [[1, 0]], rounds=3, names=names, language="zh")
    quicker = dataclasses.replace(found.rows[1], ratio=(0.4, 0.5, 0.6), steady=(0.0,) * 3)
    assert told in dataclasses.replace(found, rows=(found.rows[0], quicker)).verdict


def test_functions_that_differ_are_told_by_how_much_or_refused():
    found = mh.compare_functions([sum, wrong_sum], [[1, 2]], rounds=3, tolerance=1.0)
    assert found.rows[1].difference == 0.5
    with pytest.raises(mh.ResultsDiffer, match="say how far by tolerance="):
        mh.compare_functions([sum, wrong_sum], [[1, 2]])
    with pytest.raises(mh.ResultsDiffer, match=r"wrong_sum gives another result for item 0.*than sum does: 3 and 3.5"):
        mh.compare_functions([sum, wrong_sum], [[1, 2]], tolerance=0.1)
    with pytest.raises(mh.ResultsDiffer):
        mh.compare_functions([sum, str], [[1, 2]])


def test_what_is_infinite_is_close_to_no_number():
    with pytest.raises(mh.ResultsDiffer, match="3 and inf"):
        mh.compare_functions([sum, lambda _: math.inf], [[1, 2]])


def test_a_tolerance_is_advised_where_it_may_help():
    def loop(values):  # called as the way of mh.compare is
        return sum(values)

    with pytest.raises(mh.ResultsDiffer, match=r"than loop does: 3 and 3.5. If numbers may be apart, say how far"):
        mh.compare_functions([loop, wrong_sum], [[1, 2]], rounds=3)
    with pytest.raises(mh.ResultsDiffer, match=r"than sum does: 3 and '\[1, 2\]'\.$"):
        mh.compare_functions([sum, str], [[1, 2]], rounds=3)
    with pytest.raises(mh.ResultsDiffer, match=r"The numbers are up to 0.5 apart, more than the tolerance of 0.1\.$"):
        mh.compare_functions([sum, wrong_sum], [[1, 2]], tolerance=0.1)
    with pytest.raises(mh.ResultsDiffer, match=r"3 and inf\.$"):
        mh.compare_functions([sum, lambda _: math.inf], [[1, 2]])


@pytest.mark.parametrize("tolerance", [None, 5.0])
def test_bytes_that_differ_are_told_to_be_compared_exactly(tolerance):
    def pixels(values):
        return {"raw": bytes(values)}

    def others(values):
        return {"raw": bytes([*values[:-1], values[-1] + 1])}

    with pytest.raises(mh.ResultsDiffer, match=r"\(1 of 3 bytes differ\)\. Bytes are compared exactly"):
        mh.compare_functions([pixels, others], [[1, 2, 3]], tolerance=tolerance)
    with pytest.raises(mh.ResultsDiffer, match=r"'\\x03'\.$"):  # of another length: no array of it would agree
        mh.compare_functions([bytes, lambda values: bytes(values[-1:])], [[1, 2, 3]], tolerance=tolerance)


def test_results_that_hold_their_input_are_compared_as_they_were_given():
    """The next function writes into that input: its result is in the first one's as well."""

    def twice(array):
        array *= 2
        return {"array": array}

    def thrice(array):
        array *= 3
        return {"array": array}

    with pytest.raises(mh.ResultsDiffer, match="changes its inputs: copy them inside"):
        mh.compare_functions([twice, thrice], [np.ones(3)], rounds=3)


def test_a_function_s_result_that_only_differs_in_a_later_round_is_told():
    calls = itertools.count()
    with pytest.raises(mh.ResultsDiffer, match=r"late gives another result for item 0, 5, than int does: 5 and 6"):
        mh.compare_functions([int, lambda x: x + (next(calls) > 1)], [5], names=["int", "late"], rounds=3)


def test_integers_of_two_kinds_may_be_apart_by_the_tolerance():
    functions = {
        "signed": lambda x: np.array([x], np.int64),
        "unsigned": lambda x: np.array([x + 1], np.uint64),
    }
    assert mh.compare_functions(functions, [5], rounds=3, tolerance=2).rows[1].difference == 1


def test_functions_have_names_that_tell_them_apart():
    named = mh.compare_functions({"one\nline": abs, "b\udcff": int}, [1], rounds=3, title="of\ntwo")
    assert [row.name for row in named.rows] == ["one line", "b\\udcff"]
    assert named.to_markdown().startswith("## of two\n")
    numbered = mh.compare_functions([abs] * 3, [1], names=["f", "f", "f (1)"], rounds=3)
    assert [row.name for row in numbered.rows] == ["f (2)", "f (3)", "f (1)"]
    unnamed = mh.compare_functions([lambda x: x, lambda x: 1 * x], [1], rounds=3)
    assert [row.name for row in unnamed.rows] == ["<lambda> (1)", "<lambda> (2)"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"unit": "x"}, "'call' or 'run'"),
        ({"title": 5}, "title= takes a text"),
        ({"names": [5]}, "names= takes a text for each"),
        ({"names": ["a", "b"]}, "1; got 2"),
        ({"tolerance": NAN}, "0 or more; got nan"),
        ({"tolerance": -1}, "0 or more; got -1"),
        ({"functions": []}, "takes functions"),
        ({"functions": abs}, "takes functions"),
        ({"functions": ["abs"]}, "got 'abs'"),
        ({"functions": {"f": abs}, "names": ["g"]}, "leave names= out"),
    ],
    ids=str,
)
def test_wrong_arguments_about_functions_are_told_before_anything_runs(arguments, told):
    called = []
    with pytest.raises(mh.OptionError, match=told):
        mh.compare_functions(**{"functions": [called.append], "items": [1]} | arguments)
    assert not called


def test_a_short_loop_is_not_said_to_keep_many_cores_busy():
    """Looking at the processes takes longer than such a loop."""
    found = mh.compare(square, range(20), strategies=["threads"], rounds=3)
    assert not any("keeps" in warning for warning in found.warnings)


def test_what_fails_in_the_loop_says_where():
    with pytest.raises(ZeroDivisionError) as caught:
        mh.compare(lambda x: 1 // x, [2, 0])
    assert "this was task 1, argument 0" in caught.value.__notes__[0]


@pytest.mark.skipif(not machine.CAN_TELL, reason="nothing is known of processes here")
def test_processes_may_end_while_they_are_looked_at():
    """As those do that a function starts: the comparison would end with an error about /proc."""
    begins = "while :; do /bin/true & /bin/true & wait; done"
    with subprocess.Popen(["sh", "-c", begins], start_new_session=True) as running:
        try:
            found = {pid for _ in range(2000) for pid in machine.processes()}
        finally:
            os.killpg(running.pid, signal.SIGKILL)
    assert {os.getpid(), running.pid} <= found


def test_for_tasks_that_wait_more_workers_are_suggested():
    found = mh.compare(time.sleep, [0.02] * 8, strategies=["threads"], workers=2, rounds=3)
    assert found.waiting
    assert "compare with 8 workers" in found.verdict
    assert found.verdict.endswith(found.best.code)


# --- charts and pages ---------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """Text and addresses of a page."""

    def __init__(self):
        super().__init__()
        self.texts, self.addresses, self.bars = [], [], 0

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in {"src", "href"}]
        self.bars += tag == "rect"

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_has_all_of_it_and_needs_nothing_else(language, tmp_path):
    compared = found(LOOP, measured("processes", around(5.2), workers=2), language=language, function="<f&g>")
    compared.html(tmp_path / "page.html")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    reader = Reader()
    reader.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    text = "\n".join(reader.texts)
    assert compared.verdict in text
    assert "<f&g>" in text
    assert "5.2 s" in text
    assert reader.bars == 3 + 2  # loop, cold, warm; and the legend's two
    assert all(address.startswith("data:") for address in reader.addresses)
    assert json.loads(compared.to_json())["rows"]
    assert compared.to_json() in text


needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not there")


@needs_matplotlib
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_chart_has_no_text_that_is_cut_or_cannot_be_drawn(language):
    if language == "zh" and not charts.chinese_fonts():
        pytest.skip("no font with Chinese characters is installed")
    rows = [LOOP, measured("processes", around(5.2), workers=2), measured("threads", around(12000), workers=16)]
    chart = words.chart(found(*rows, language=language, function="a_function_with_quite_a_long_name"))
    with charts.fonts():  # a character that no font has would warn, and fail the test
        figure = charts.figure(chart)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        texts = [*axes.texts, axes.title, axes.xaxis.label, *axes.get_yticklabels(), *figure.texts]
        texts += figure.legends[0].get_texts()
        assert {"10 s", "5.2 s"} < {text.get_text() for text in texts}
        for text in texts:
            box = text.get_window_extent()
            assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1, text.get_text()


@needs_matplotlib
@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [(2.0, "seconds", "秒"), (0.02, "milliseconds", "毫秒"), (0.00002, "microseconds", "微秒")],
)
def test_a_chart_counts_in_the_unit_of_its_longest_bar(seconds, english, chinese):
    compared = FunctionComparison((function("slow", seconds), function("quick", seconds / 10)), 20, 3, 2, "")
    for language, unit in ("en", english), ("zh", chinese):
        chart = function_words.chart(dataclasses.replace(compared, language=language))
        assert unit in chart.axis
        axes = charts.figure(chart).axes[0]
        assert axes.patches[0].get_width() == pytest.approx(float(chart.bars[0].shown.split()[0]))
    assert words.chart(found(LOOP)).axis == "seconds"


@needs_matplotlib
def test_a_chart_is_written(tmp_path):
    found(LOOP, measured("processes", around(5.2), workers=2)).plot(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


@needs_matplotlib
def test_a_chinese_chart_without_a_font_for_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "FONTS", ())
    with pytest.raises(mh.OptionError, match="install one"):
        found(LOOP, language="zh").plot(tmp_path / "chart.png")
    assert list(tmp_path.iterdir()) == []


@needs_matplotlib
def test_a_chart_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(mh.OptionError, match=r"as .nosuch: name a file that ends in .png"):
        found(LOOP).plot(tmp_path / "chart.nosuch")
    for write in found(LOOP).plot, found(LOOP).html:
        with pytest.raises(FileNotFoundError) as caught:
            write(tmp_path / "no" / "chart.png")
        assert caught.value.filename == str(tmp_path / "no" / "chart.png")
    assert list(tmp_path.iterdir()) == []


@needs_matplotlib
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "jpg", "webp", "html"])
def test_a_file_tells_that_a_comparison_has_written_it(suffix, tmp_path):
    compared, file = found(LOOP), tmp_path / f"chart.{suffix}"
    (compared.html if suffix == "html" else compared.plot)(file)
    assert files.may_be_replaced(file)
    file.write_bytes(file.read_bytes().replace(files.MARK.encode(), b""))
    assert not files.may_be_replaced(file)


# --- the command --------------------------------------------------------------------------------------------


def command(*arguments, cwd, code=0):
    ran = subprocess.run(
        [sys.executable, "-m", "manyhands", "compare", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=80, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return ran


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "job.py").write_text(
        "import os\nHOME = os.getpid()\n"
        "def length(text):\n    return len(text)\n"
        "def longer(text):\n    return len(text) + 1\n"
        "def where(text):\n    return os.getpid()\n"
    )
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    return tmp_path


def test_the_command_prints_a_table_and_writes_the_page(folder):
    ran = command(
        "job.py:length", "--lines", "lines.txt", "-j", "1, 2", "--strategies", "threads, processes", "--rounds", "3",
        "--html", "out.html", cwd=folder,
    )  # fmt: skip
    assert {"threads × 1", "threads × 2", "processes × 2"} <= set(re.findall(r"^\w+ × \d", ran.stdout, re.MULTILINE))
    assert "Write: [func(item) for item in items]" in ran.stdout
    assert (folder / "out.html").exists()
    assert sorted(file.suffix for file in folder.iterdir() if file.is_file()) == [".html", ".py", ".txt"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["job.py:where", "--lines", "lines.txt"], 1, "processes × "),
        (["job.py:length", "--lines", "lines.txt", "--functions", "longer", "--tolerance", "0.5"], 1, "longer gives"),
        (["job.py:length", "--lines", "lines.txt", "-j", "two"], 2, "got 'two'"),
        (["job.py:length", "--lines", "lines.txt", "-j", "²"], 2, "got '²'"),
        (["job.py:length", "--range", "0:1000001"], 2, "holds more than 1,000,000 items"),
        (["job.py:length", "--lines", "lines.txt", "--html", "/dev/stdout"], 2, "where the table is printed"),
        (["job.py:length", "--lines", "lines.txt", "--html", "no/such/out.html"], 2, "there is no folder"),
        (["job.py:length", "--lines", "lines.txt", "--plot", "out.txt"], 2, "ends in .png"),
        (["job.py:length", "--lines", "lines.txt", "--html", "a" * 300 + ".html"], 2, "File name too long"),
        (["job.py:length", "--lines", "lines.txt", "--strategies", "loops"], 2, "got 'loops'"),
        (["job.py:length", "--lines", "/dev/null"], 2, "no items"),
        (["job.py:length", "--demo", "io"], 2, "give nothing else"),
        (["job.py:length"], 2, "no inputs"),
        ([], 2, "name a function"),
        (["job.py:length", "--lines", "lines.txt", "--json", "--md"], 2, "one of them"),
        (["job.py:length", "--lines", "lines.txt", "--tolerance", "1"], 2, "goes with --functions"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_the_command_refuses(arguments, code, told, folder):
    ran = command(*arguments, cwd=folder, code=code)
    assert told in ran.stderr
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1


def test_functions_of_a_file_are_compared(folder):
    ran = command(
        "job.py:length", "--functions", "longer", "--lines", "lines.txt", "--rounds", "3", "--json",
        "--tolerance", "1", cwd=folder,
    )  # fmt: skip
    rows = json.loads(ran.stdout)["rows"]
    assert [(row["name"], row["difference"]) for row in rows] == [("length", 0.0), ("longer", 1.0)]


def test_functions_of_files_with_one_name_are_told_apart(folder):
    """Also if no import can tell them apart, as they are called like a module that exists."""
    for place, result in ("old", 1), ("new", 2):
        (folder / place / "src").mkdir(parents=True)
        (folder / place / "src" / "json.py").write_text(f"def f(text):\n    return {result}\n")
    ran = command(
        "old/src/json.py:f", "a", "--functions", "new/src/json.py:f", "--rounds", "3", "--json", "--tolerance", "1",
        cwd=folder,
    )  # fmt: skip
    rows = json.loads(ran.stdout)["rows"]
    assert [(row["name"], row["difference"]) for row in rows] == [("f (1)", 0.0), ("f (2)", 1.0)]


@pytest.mark.stress
@pytest.mark.parametrize("demo", ["io", "cpu"])
def test_demos(demo, tmp_path):
    ran = command("--demo", demo, "--strategies", "loop,threads,processes", "--rounds", "3", "--json", cwd=tmp_path)
    data = json.loads(ran.stdout)
    assert [row["strategy"] for row in data["rows"]] == ["loop", "threads", "processes"]
    assert (data["tasks"], data["waiting"]) == (10, demo == "io")


def test_a_function_that_fails_is_told_with_its_own_lines_alone(folder):
    (folder / "fails.py").write_text(
        "import sys\ndef half(text):\n    return text / 2\ndef ends(text):\n    sys.exit(3)\n"
    )
    ran = command("fails.py:half", "one", cwd=folder, code=1)
    assert "return text / 2" in ran.stderr
    assert "this was task 0" in ran.stderr
    assert "comparison" not in ran.stderr
    assert "SystemExit" in command("fails.py:ends", "one", cwd=folder, code=1).stderr


def test_a_page_that_cannot_be_written_does_not_cost_the_figures(folder):
    ran = command("job.py:length", "a", "--rounds", "3", "--html", "/dev/full", cwd=folder, code=2)
    assert "loop" in ran.stdout
    assert "No space left on device: /dev/full" in ran.stderr


def test_a_page_goes_through_a_link_and_into_a_pipe(tmp_path):
    (tmp_path / "target.html").write_text("old")
    (tmp_path / "link.html").symlink_to("target.html")
    found(LOOP).html(tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert "<html" in (tmp_path / "target.html").read_text()
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    read = []
    reader.start()
    found(LOOP).html(tmp_path / "pipe")
    reader.join(20)
    assert "<html" in read[0]


def test_a_page_goes_into_a_pipe_that_has_no_name_but_a_number(folder):
    reading, writing = os.pipe()
    arguments = ["job.py:length", "a", "--rounds", "3", "--strategies", "loop", "--html", f"/dev/fd/{writing}"]
    running = subprocess.Popen(
        [sys.executable, "-m", "manyhands", "compare", *arguments], cwd=folder, pass_fds=[writing]
    )
    os.close(writing)
    with open(reading) as page:
        assert "</html>" in page.read()
    assert running.wait(20) == 0


def test_files_that_no_comparison_has_written_stay_as_they_are(folder):
    (folder / "mine.html").write_text("one\ntwo\n")
    (folder / "link.html").symlink_to("mine.html")
    for name in "mine.html", "link.html":
        ran = command("job.py:length", "--lines", "lines.txt", "--html", name, cwd=folder, code=2)
        assert f"--html {name} is there, and no comparison has written it: name another file" in ran.stderr
    assert (folder / "mine.html").read_text() == "one\ntwo\n"


def test_a_page_of_before_is_replaced_unless_it_is_an_input(folder):
    found(LOOP).html(folder / "out.html")
    before = (folder / "out.html").read_text()
    for inputs in ["./out.html"], ["--files", "*.html"], ["--lines", "out.html"]:
        ran = command("job.py:length", *inputs, "--html", "out.html", cwd=folder, code=2)
        assert "is one of the inputs: name another file" in ran.stderr
    assert (folder / "out.html").read_text() == before
    few = "--rounds", "3", "--strategies", "loop"
    ran = command("job.py:length", "a", "--html", "out.html", *few, cwd=folder)
    assert ran.stderr == f"written: {folder / 'out.html'}\n"
    assert (folder / "out.html").read_text() != before


def test_a_function_that_goes_elsewhere_does_not_take_the_page_along(folder):
    (folder / "goes.py").write_text("import os\ndef away(text):\n    os.chdir('/')\n")
    command("goes.py:away", "a", "--rounds", "3", "--strategies", "loop", "--html", "out.html", cwd=folder)
    assert (folder / "out.html").exists()


def test_the_page_is_there_also_if_nobody_reads_the_table(folder):
    few = "--rounds", "3", "--strategies", "loop"
    running = subprocess.Popen(
        [sys.executable, "-m", "manyhands", "compare", "job.py:length", "a", *few, "--html", "out.html"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running.stdout.close()
    assert running.stderr.read() == ""
    running.stderr.close()
    assert running.wait(20) == 141
    assert (folder / "out.html").exists()


@needs_matplotlib
def test_names_are_drawn_as_they_are(tmp_path):
    made = FunctionComparison((function("cost $a_", 0.01), function("$$^", 0.02)), 1, 3, 2, "")
    made.plot(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").exists()


def test_ctrl_c_ends_a_comparison(folder):
    (folder / "waits.py").write_text(
        "import pathlib, time\ndef wait(x):\n    pathlib.Path('begun').touch()\n    time.sleep(30)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "manyhands", "compare", "waits.py:wait", "a", "b"], cwd=folder, stderr=subprocess.PIPE
    )
    assert eventually((folder / "begun").exists, seconds=30)
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=20)[1].count(b"Traceback") == 0
    assert running.returncode == 130


# --- what an audit found ------------------------------------------------------------------------------------------


def test_plain_python_and_numpy_may_give_the_same():
    def python(values):
        return sum(value * value for value in values) / len(values)

    def numpy(values):
        return np.mean(np.square(np.asarray(values, dtype=float)))

    found = mh.compare_functions([python, numpy], [[1, 2, 4]], rounds=3)
    assert found.rows[1].difference == pytest.approx(0.0)
    lists = mh.compare_functions([lambda n: [1, n], lambda n: np.array([1.0, n + 0.5])], [2], rounds=3, tolerance=1)
    assert lists.rows[1].difference == 0.5


def test_functions_that_write_into_their_input_are_told_apart():
    def twice(array):
        array *= 2
        return array

    def thrice(array):
        array *= 3
        return array

    with pytest.raises(mh.ResultsDiffer):
        mh.compare_functions([twice, thrice], [np.ones(3)], rounds=3)
    assert mh.compare_functions([twice], [np.ones(3)], rounds=3).warnings


def test_a_result_that_only_differs_in_a_later_round_is_told(tmp_path):
    """As that of tasks which are in each other's way now and then."""

    def task(number):
        with (tmp_path / "calls").open("a") as file:
            file.write("x")
        return number + ((tmp_path / "calls").stat().st_size > 20)

    with pytest.raises(mh.ResultsDiffer):
        mh.compare(task, range(5), strategies=["loop", "threads"], rounds=5)


@pytest.mark.parametrize("name", ["a_function_with_quite_a_long_name_" * 4, "长名字的函数" * 12], ids=["en", "zh"])
def test_long_names_are_shown_in_part(name, tmp_path):
    found = mh.compare_functions([abs, int], [1], names=[name, "int"], rounds=3)
    found.html(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert not re.findall(r'width="-', page)
    assert "…" in page
