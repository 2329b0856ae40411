"""What a type checker says about the public names; mypy reads this file and nothing runs it.

`assert_type` states what must be understood. Each `type: ignore` states what must be refused: mypy reports
one that has nothing to silence.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import assert_type

import manyhands as mh


def length(word: str) -> int:
    """One argument."""
    return len(word)


def repeat(word: str, times: int) -> str:
    """Two arguments."""
    return word * times


def results_have_the_type_that_the_function_returns(words: list[str], counts: range) -> None:
    """Map in its four forms, with one iterable and with several."""
    assert_type(mh.map(length, words), list[int])
    assert_type(mh.map(repeat, words, counts), list[str])
    assert_type(mh.starmap(repeat, zip(words, counts, strict=True)), list[str])
    for result in mh.imap(length, words):
        assert_type(result, int)
    for result in mh.imap_unordered(length, words):
        assert_type(result, int)


def a_lambda_is_understood(words: list[str]) -> None:
    """By what it returns."""
    assert_type(mh.map(lambda word: len(word) > 1, words), list[bool])


def a_lazy_map_is_an_iterator_that_can_be_closed(words: list[str]) -> None:
    """By `close`, or by leaving `with`."""
    with mh.imap(length, words) as results:
        iterator: Iterator[int] = results
        assert_type(next(iterator), int)
    mh.imap_unordered(length, words).close()


def failures_are_part_of_the_type_when_they_are_collected(words: list[str]) -> None:
    """Only then."""
    assert_type(mh.map(length, words, on_error="collect"), list[int | mh.Failure])
    assert_type(mh.map(length, words, on_error="skip"), list[int])
    assert_type(mh.map(length, words, on_error="raise"), list[int])


def every_option_is_known(words: list[str]) -> None:
    """By name, with the values that it takes."""
    mh.map(length, words, workers=2, backend="processes", start_method="spawn", chunksize=4)
    mh.map(length, words, progress=True, desc="words", total=10)
    mh.map(length, words, timeout=1.5, retry=3, seed=1)
    mh.map(length, words, retry=mh.Retry(attempts=2, backoff=0.5, on=(OSError,), on_worker_death=False))
    mh.map(length, words, progress=watch, report=read)


def watch(progress: mh.Progress) -> None:
    """What a progress callback is given."""
    assert_type(progress.desc, str)
    assert_type(progress.done, int)
    assert_type(progress.total, int | None)
    assert_type(progress.failed, int)
    assert_type(progress.remaining, float | None)


def read(report: mh.Report) -> None:
    """What a report callback is given."""
    assert_type(mh.last_report(), mh.Report | None)
    print(report)


def mistakes_are_refused(words: list[str]) -> None:
    """Before the program runs."""
    mh.map(length, 3)  # type: ignore[call-overload]
    mh.map(length, words, on_error="ignore")  # type: ignore[call-overload]
    mh.map(length, words, worker=2)  # type: ignore[call-overload]


def futures_know_what_they_hold() -> None:
    """Those of `submit` and those of an executor."""
    assert_type(mh.submit(length, "word"), Future[int])
    mh.submit(length, 3)  # type: ignore[arg-type]
    with mh.Executor(2, backend="threads") as executor:
        assert_type(executor, mh.Executor)
        standard: Executor = executor
        assert_type(executor.submit(length, "word"), Future[int])
        assert_type(standard.submit(repeat, "word", 2), Future[str])


def a_pool_answers_as_that_of_multiprocessing(words: list[str], counts: range) -> None:
    """The calls that every program makes."""
    with mh.Pool(2) as pool:
        assert_type(pool.map(length, words), list[int])
        assert_type(pool.starmap(repeat, zip(words, counts, strict=True)), list[str])
        assert_type(pool.apply(repeat, ("word", 2)), str)
        assert_type(pool.apply_async(repeat, ("word", 2)).get(timeout=1), str)


def a_failure_tells_its_story(failure: mh.Failure) -> None:
    """With the exception itself and what it was about."""
    assert_type(failure.index, int)
    assert_type(failure.error, BaseException)
    assert_type(failure.attempts, int)
    assert_type(failure.traceback, str)


@mh.thread_safe
def decorated(word: str) -> int:
    """A decorated function keeps its signature."""
    return len(word)


def decorators_keep_signatures(words: list[str]) -> None:
    """So that a wrong argument is still refused."""
    assert_type(mh.map(decorated, words), list[int])
    decorated(3)  # type: ignore[arg-type]


def defaults_are_set_for_good_or_for_a_while() -> None:
    """`configure` alone, or in `with`."""
    mh.configure(workers=2)
    with mh.configure(backend="serial", progress=False):
        pass
