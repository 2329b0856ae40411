"""What may be compared, and what it is called: checked before anything runs."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from manyhands.calls import check_function
from manyhands.comparison import words
from manyhands.errors import OptionError
from manyhands.showing import short_repr

Functions = Sequence[Callable[[Any], Any]] | Mapping[str, Callable[[Any], Any]]


def checked(functions: Iterable[Any], items: Iterable[Any], rounds: int, language: str) -> list[Any]:
    """The inputs. Raises OptionError for what cannot be compared."""
    for func in functions:
        check_function(func)
    if not isinstance(rounds, int) or rounds < 3:
        raise OptionError(f"rounds= takes a number of 3 or more, since fewer tell nothing; got {rounds!r}")
    words.of(language)
    try:
        given = iter(items)
    except TypeError:
        raise OptionError(f"items= takes the inputs, one for each call of the function; got {items!r}") from None
    inputs = list(given)
    if not inputs:
        raise OptionError("there is nothing to compare: items is empty")
    return inputs


def name_of(func: Any) -> str:
    """As it stands in tables: without the function that it was made in; of what stands for another, that one's."""
    named = func if hasattr(func, "__qualname__") else getattr(func, "__wrapped__", func)
    name = getattr(named, "__qualname__", None) or short_repr(func)
    return words.one_line(str(name).rpartition("<locals>.")[2])


def named_functions(functions: Functions, names: Sequence[str] | None) -> dict[str, Callable[[Any], Any]]:
    """Each with a name that no other has. Raises OptionError for what is no function, or no name."""
    if isinstance(functions, Mapping) and names is not None:
        raise OptionError("a mapping names its functions: leave names= out")
    if isinstance(functions, Mapping):
        names = list(functions)
    try:
        calls = list(functions.values() if isinstance(functions, Mapping) else functions)
    except TypeError:
        calls = []
    if not calls or not all(map(callable, calls)):
        wrong = next((call for call in calls if not callable(call)), functions)
        raise OptionError(
            f"the first argument takes functions, as [f, g], or a mapping of names to them, as {{'f': f, 'g': g}}; "
            f"got {short_repr(wrong)}"
        )
    return dict(zip(_names(calls, names), calls, strict=True))


def _names(calls: Sequence[Any], given: Sequence[str] | None) -> list[str]:
    if given is None:
        return _told_apart([name_of(call) for call in calls])
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise OptionError(f"names= takes a text for each function; got {short_repr(given)}")
    if len(given) != len(calls):
        raise OptionError(f"names= takes one for each function: {len(calls)}; got {len(given)}")
    return _told_apart([words.one_line(name) for name in given])


def _told_apart(names: list[str]) -> list[str]:
    """Those that several have, with a number.

    >>> _told_apart(["f", "g", "g", "g (2)"])
    ['f', 'g (3)', 'g (4)', 'g (2)']
    """
    taken, found = set(names), []
    for at, name in enumerate(names):
        numbered = (f"{name} ({number})" for number in itertools.count(at + 1))
        found.append(name if names.count(name) == 1 else next(new for new in numbered if new not in taken))
        taken.add(found[-1])
    return found


def check_told(title: str, unit: str) -> None:
    """Raise OptionError for what charts and pages cannot say."""
    if not isinstance(title, str):
        raise OptionError(f"title= takes a text; got {short_repr(title)}")
    if unit not in words.UNITS:
        raise OptionError(f"unit= takes 'call' or 'run'; got {short_repr(unit)}")


def check_tolerance(tolerance: float | None) -> None:
    """Raise OptionError for what no difference can be told by."""
    if tolerance is None or (isinstance(tolerance, numbers.Real) and tolerance >= 0):
        return
    raise OptionError(f"tolerance= takes a number of 0 or more; got {short_repr(tolerance)}")
