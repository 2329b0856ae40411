import pytest

from manyhands.cli.problems import CommandError
from manyhands.cli.values import (
    parse_duration,
    parse_range,
    parse_several_workers,
    parse_workers,
    range_length,
    show_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("30", 30),
        ("1.5", 1.5),
        (".5m", 30),
        ("1 s", 1),
    ],
)
def test_a_time_is_read_with_its_unit_or_as_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 days", "-3s", "1m30s", "nan", "inf", "1e3", "٣s"])
def test_what_is_not_a_time_is_refused_with_the_ways_to_write_one(text):
    with pytest.raises(CommandError, match="500ms, 30s, 5m, 2h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0.0ms"])
def test_no_time_at_all_is_refused(text):
    with pytest.raises(CommandError, match="more than zero"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0:3", [0, 1, 2]), ("-2:1", [-2, -1, 0]), ("0:10:4", [0, 4, 8]), ("3:0:-1", [3, 2, 1]), ("7:7", [])],
)
def test_a_range_is_read_as_python_counts(text, numbers):
    assert list(parse_range(text)) == numbers


@pytest.mark.parametrize("text", ["", "5", "a:b", "1:2:3:4", "1.5:3", ":3", "1:", f"0:{'9' * 5000}"])
def test_what_is_not_a_range_is_refused_with_an_example(text):
    with pytest.raises(CommandError, match="such as 0:100"):
        parse_range(text)


@pytest.mark.parametrize("text", ["", "0", "two", "-1", "²", "٣", "9" * 5000])
@pytest.mark.parametrize("parse", [parse_workers, parse_several_workers])
def test_what_is_no_number_of_workers_is_refused_with_the_ways_to_write_one(parse, text):
    with pytest.raises(CommandError, match=r"write 1 or more, or auto|as 2 or 1,2,4"):
        parse(text)


def test_a_step_of_zero_is_refused():
    with pytest.raises(CommandError, match="never end"):
        parse_range("0:5:0")


def test_a_range_that_leads_away_from_its_end_is_refused_with_the_right_step():
    with pytest.raises(CommandError, match="write 5:1:-1"):
        parse_range("5:1")


@pytest.mark.parametrize(
    "numbers", [range(0), range(5), range(0, 10, 3), range(5, 1, -1), range(10, 1, -4), range(3, 1)]
)
def test_the_length_of_a_range_is_counted_as_python_does(numbers):
    assert range_length(numbers) == len(numbers)


def test_the_length_of_a_range_beyond_machine_words_is_known():
    assert range_length(range(10**30)) == 10**30


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.004, "0.00 s"),
        (0.5, "0.50 s"),
        (3.14, "3.1 s"),
        (59.97, "1 min 0 s"),
        (125, "2 min 5 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_a_time_is_written_for_people(seconds, text):
    assert show_duration(seconds) == text
