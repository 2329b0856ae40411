"""What people are told when they have mixed things up, and what objects of ours show of themselves."""

from __future__ import annotations

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
