"""What people are told when they have mixed things up, and what objects of ours show of themselves."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import manyhands as mh


def area(width, height):
    return width * height


def notes_of(call, *args):
    with pytest.raises(TypeError) as caught:
        call(area, *args, backend="serial")
    return " ".join(caught.value.__notes__)


def test_map_over_tuples_points_to_starmap():
    assert "starmap takes it apart" in notes_of(mh.map, [(1, 2)])


def test_starmap_over_single_values_points_to_map():
    with pytest.raises(TypeError) as caught:
        mh.starmap(abs, [1, 2], backend="serial")
    assert "map passes it as it is" in " ".join(caught.value.__notes__)


def test_a_type_error_of_the_function_itself_gets_no_such_hint():
    with pytest.raises(TypeError) as caught:
        mh.map(lambda pair: pair + 1, [(1, 2)], backend="serial")
    assert "starmap" not in " ".join(caught.value.__notes__)


@pytest.mark.parametrize("call", [mh.map, mh.starmap, mh.imap, mh.imap_unordered])
def test_swapped_arguments_are_told_before_anything_runs(call):
    with pytest.raises(mh.OptionError, match="the first argument is the function"):
        call([1, 2], area)


def test_an_option_that_is_nearly_one_of_ours_is_guessed():
    with pytest.raises(mh.OptionError, match="did you mean workers"):
        mh.map(abs, [1], worker=2)


def test_a_failure_shows_how_its_error_begins():
    def fail(_):
        raise ValueError("the file photos/2024/summer.png is not an image: " + "x" * 1000)

    shown = repr(mh.map(fail, [1], on_error="collect", backend="serial")[0])
    assert "the file photos/2024/summer.png is not an image" in shown
    assert len(shown) < 400


def test_executors_and_pools_show_what_they_are():
    with mh.Executor(2, backend="threads") as executor:
        assert repr(executor) == "<manyhands.Executor: 2 workers (threads)>"
    assert "takes no more work" in repr(executor)
    with mh.Pool(2, backend="threads") as pool:
        assert repr(pool) == "<manyhands.Pool: 2 workers (threads)>"


def test_a_future_shows_no_type_of_ours():
    with mh.Executor(1, backend="processes") as executor:
        future = executor.submit(abs, -1)
        assert future.result(20) == 1
        assert "finished" in repr(future)
        assert "Piece" not in repr(future)


async def fetch(url):
    return url


@pytest.mark.parametrize(
    "call",
    [
        lambda: mh.map(fetch, ["a"]),
        lambda: mh.submit(fetch, "a"),
        lambda: mh.Executor(1, backend="serial").submit(fetch, "a"),
        lambda: mh.Executor(1, backend="serial").map(fetch, ["a"]),
    ],
    ids=["map", "submit", "Executor.submit", "Executor.map"],
)
def test_an_async_function_is_refused_before_anything_runs(call):
    with pytest.raises(mh.OptionError, match=r"async function: give a plain one that calls asyncio\.run"):
        call()


def test_per_worker_on_a_function_that_needs_arguments_is_refused_at_once():
    with pytest.raises(mh.OptionError, match="area needs width, height"):
        mh.per_worker(area)


@pytest.mark.parametrize("method", ["map", "starmap", "imap"])
def test_an_error_of_a_pool_names_the_argument(method):
    inputs = [(1,), (0,)] if method == "starmap" else [1, 0]
    with mh.Pool(2, backend="threads") as pool, pytest.raises(ZeroDivisionError) as caught:
        list(getattr(pool, method)(lambda n: 1 / n, inputs))
    assert caught.value.__notes__ == [f"manyhands: this was task 1, argument {inputs[1]!r}"]


def test_a_task_that_was_given_up_points_to_collect_where_that_is_an_option():
    pause = threading.Event()
    with pytest.raises(mh.TaskTimeout) as caught:
        mh.map(lambda _: pause.wait(), [1], timeout=0.1, backend="threads")
    pause.set()
    assert "on_error='collect'" in caught.value.__notes__[0]
    assert "on_error" not in str(caught.value)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_of_much_binary_data_only_the_beginning_is_shown(kind):
    data = kind(50_000_000)
    failure = mh.map(lambda _: 1 / 0, [data], backend="serial", on_error="collect")[0]
    assert failure.argument is data
    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(lambda _: 1 / 0, [data], backend="serial")
    assert "50000000 bytes" in caught.value.__notes__[0]
    assert len(caught.value.__notes__[0]) < 300


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        (np.zeros((480, 640, 3), "uint8"), "<ndarray of uint8, shape (480, 640, 3)>"),
        ([np.zeros(1000), 3], "[<ndarray of float64, shape (1000,)>, 3]"),
        (np.arange(3), "array([0, 1, 2])"),
    ],
)
def test_a_large_array_is_shown_by_its_shape(argument, shown):
    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(lambda _: 1 / 0, [argument], backend="serial")
    assert caught.value.__notes__ == [f"manyhands: this was task 0, argument {shown}"]


def test_what_only_looks_like_an_array_is_shown_by_its_own_repr():
    class Figure:
        shape = ("round", 3)

        def __repr__(self):
            return "a figure"

    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(lambda _: 1 / 0, [Figure()], backend="serial")
    assert caught.value.__notes__ == ["manyhands: this was task 0, argument a figure"]


class Tensor:
    """As those of torch: the shape is of a class of its own."""

    class Size(tuple):
        __slots__ = ()

    shape = Size((3, 224, 224))
    dtype = "float32"


class Secretive:
    """An object whose shape cannot be asked for."""

    @property
    def shape(self):
        raise RuntimeError

    def __repr__(self):
        return "a secret"


@pytest.mark.parametrize(
    ("argument", "shown"), [(Tensor(), "<Tensor of float32, shape (3, 224, 224)>"), (Secretive(), "a secret")]
)
def test_tensors_are_shown_by_their_shape_and_odd_objects_by_their_repr(argument, shown):
    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(lambda _: 1 / 0, [argument], backend="serial")
    assert caught.value.__notes__ == [f"manyhands: this was task 0, argument {shown}"]


class Endless(Tensor):
    shape = (2,) * 100_000

    def __repr__(self):
        return "an odd one"


@pytest.mark.parametrize(
    "argument", [np.zeros(1000, dtype=[(f"field_{number}", "f8") for number in range(50)]), Endless()], ids=type
)
def test_what_is_shown_of_an_array_is_short(argument):
    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(lambda _: 1 / 0, [argument], backend="serial")
    assert len(caught.value.__notes__[0]) < 200
