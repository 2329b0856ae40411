"""Programs whose functions and classes live in ``__main__``: they travel by value and come back as themselves.

That such programs run at all, in every form, is in test_surroundings.
"""

from __future__ import annotations

import programs
import pytest

pytestmark = pytest.mark.timeout(60)

CLASSES = """
    import dataclasses, enum, typing
    import manyhands as mh

    class Color(enum.Enum):
        RED = 1
        BLUE = 2

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 0

        def moved(self):
            return Point(self.x + 1, self.y)

    class Pair(typing.NamedTuple):
        left: object
        right: object

    class Trouble(Exception):
        def __init__(self, code, place):
            super().__init__(f"{code} at {place}")
            self.code = code

    class Counter:
        made = 0

        def __init__(self):
            Counter.made += 1
            self.number = Counter.made

        def describe(self):
            return f"number {self.number} of {type(self).made}"

    class Special(Counter):
        def describe(self):
            return "special " + super().describe()

    def other(color):
        return Color.BLUE if color is Color.RED else Color.RED

    def fail(n):
        raise Trouble(n, "the worker")

    def fresh(_):
        return Special()

    def twins(n):
        point = Point(n)
        return [point, point]

    def methods():
        return [Point.moved, Counter.describe, Special.describe, Trouble.__init__, Color.__members__["RED"]]

    before = methods()
    options = {"workers": 2, "backend": "processes", "start_method": "{method}"}
    for _ in range(2):  # with workers that do not know the classes, and with those that do
        assert mh.map(other, [Color.RED, Color.BLUE], **options) == [Color.BLUE, Color.RED]
        assert mh.map(other, [Color.RED], **options)[0] is Color.BLUE
        assert mh.map(Point.moved, [Point(1), Point(2, 3)], **options) == [Point(2), Point(3, 3)]
        assert {type(p) for p in mh.map(Point, [1, 2], **options)} == {Point}
        (pair,) = mh.map(lambda n: Pair(Point(n), {Color.RED: [Counter]}), [5], **options)
        assert pair == Pair(Point(5), {Color.RED: [Counter]})
        assert type(pair) is Pair
        assert pair.right[Color.RED][0] is Counter
        (found,) = mh.map(twins, [1], **options)
        assert found[0] is found[1]
        try:
            mh.map(fail, [7], **options)
        except Trouble as error:
            assert error.code == 7
            assert str(error) == "7 at the worker"
        else:
            raise AssertionError("nothing was raised")
        specials = mh.map(fresh, range(3), **options)
        assert {type(s) for s in specials} == {Special}
        assert Counter.made == 0  # what tasks do to a class, they do to their own copy
        assert specials[0].describe() == f"special number {specials[0].number} of 0"
        with mh.Executor(2, backend="processes", start_method="{method}") as executor:
            assert type(executor.submit(Point, 4).result()) is Point
            assert type(executor.submit(fail, 8).exception()) is Trouble
        assert methods() == before
    print("fine")
"""

SLOTS = """
    import dataclasses, weakref
    import manyhands as mh

    @dataclasses.dataclass(slots=True)
    class Point:
        x: int

    class Box:
        __slots__ = ("__inside", "label", "__weakref__")

        def __init__(self, inside):
            self.__inside = inside

        def inside(self):
            return self.__inside

    class Large(Box):
        __slots__ = "size"

    class Free(Large):
        pass

    class Open:
        __slots__ = ("first", "__dict__")

    def filled(cls):
        box = cls(5)
        box.label = "full"
        assert weakref.ref(box)() is box
        try:
            box.other = cls is Free
        except AttributeError:
            pass
        return box

    def opened(_):
        made = Open()
        made.first, made.second = 1, 2
        return made

    def local(_):
        class Local:
            __slots__ = ("value",)

        made = Local()
        made.value = 3
        return made

    options = {"workers": 2, "backend": "processes", "start_method": "{method}"}
    for _ in range(2):
        assert mh.map(Point, [1, 2], **options) == [Point(1), Point(2)]
        assert mh.map(lambda point: point, [Point(3)], **options) == [Point(3)]
        for cls in Box, Large, Free:
            (box,) = mh.map(filled, [cls], **options)
            assert type(box) is cls
            assert (box.inside(), box.label, getattr(box, "other", None)) == (5, "full", True if cls is Free else None)
            assert mh.map(cls.inside, [box], **options) == [5]
        (made,) = mh.map(opened, [0], **options)
        assert (type(made), made.first, made.second) == (Open, 1, 2)
        (made,) = mh.map(local, [0], **options)
        assert [other.value for other in mh.map(lambda x: x, [made, made], **options)] == [3, 3]
    print("fine")
"""

CHANGES = """
    import manyhands as mh

    options = {"workers": 2, "backend": "processes", "start_method": "{method}"}
    factor = 2

    def work(x):
        return helper(x) * factor

    def helper(x):
        return x + 1

    class Box:
        def open(self):
            return "first"

    assert mh.map(work, [1, 2], **options) == [4, 6]
    assert mh.map(lambda box: box.open(), [Box()], **options) == ["first"]

    def helper(x):
        return x + 100

    assert mh.map(work, [1, 2], **options) == [202, 204]
    factor = 3
    assert mh.map(work, [1, 2], **options) == [303, 306]

    class Box:
        def open(self):
            return "second"

    assert mh.map(lambda box: box.open(), [Box()], **options) == ["second"]
    assert {type(box) for box in mh.map(lambda _: Box(), range(2), **options)} == {Box}
    print("fine")
"""

CACHED = """
    import functools
    import manyhands as mh

    options = {"workers": 2, "backend": "processes", "start_method": "{method}"}

    @functools.cache
    def square(x):
        return x * x

    @functools.lru_cache(maxsize=2)
    def fourth(x):
        return square(square(x))

    def use(x):
        return fourth(x) + 1

    class Shape:
        @staticmethod
        def name():
            return "shape"

        @classmethod
        def make(cls, _):
            return cls()

        @property
        def half(self):
            return square(3) / 2

    assert mh.map(square, [1, 2, 3], **options) == [1, 4, 9]
    assert mh.map(use, [1, 2], **options) == [2, 17]
    assert [shape.half for shape in mh.map(Shape.make, range(2), **options)] == [4.5, 4.5]
    assert mh.map(lambda shape: shape.name(), [Shape()], **options) == ["shape"]
    print("fine")
"""

PROPERTIES = """
    import functools
    import manyhands as mh

    class Shape:
        def __init__(self, side):
            self.side = side

        @functools.cached_property
        def area(self):
            return self.side * self.side

    options = {"workers": 2, "backend": "processes", "start_method": "{method}"}
    assert mh.map(lambda shape: (shape.area, shape.area), [Shape(3)], **options) == [(9, 9)]
    (shape,) = mh.map(Shape, [4], **options)
    assert type(shape) is Shape
    assert shape.area == 16
    print("fine")
"""


def run(source, method, folder):
    return programs.run_source(source.replace("{method}", method), cwd=folder).stdout


def test_objects_of_the_programs_classes_come_back_as_the_programs_own(tmp_path, start_method):
    assert run(CLASSES, start_method, tmp_path) == "fine\n"


def test_objects_with_slots_come_back_as_the_programs_own(tmp_path, start_method):
    assert run(SLOTS, start_method, tmp_path) == "fine\n"


def test_what_the_program_redefines_is_seen_by_the_next_call(tmp_path, start_method):
    assert run(CHANGES, start_method, tmp_path) == "fine\n"


def test_cached_functions_of_a_script_travel_like_others(tmp_path, start_method):
    assert run(CACHED, start_method, tmp_path) == "fine\n"


def test_classes_of_a_script_with_cached_properties_travel(tmp_path, start_method):
    assert run(PROPERTIES, start_method, tmp_path) == "fine\n"


GUARDED = """
    import sys
    import manyhands as mh

    print("read by", __name__)

    def task(n):
        return n + 1

    if __name__ == "__main__":
        assert mh.map(task, range(3), workers=2, backend="processes", start_method="{method}") == [1, 2, 3]
        print("fine")
"""


def test_program_is_never_read_again_by_its_workers(tmp_path, start_method):
    assert run(GUARDED, start_method, tmp_path) == "read by __main__\nfine\n"


IMPORTED = """
    import manyhands as mh

    FOUND = mh.map(abs, range(-3, 0), backend="processes", timeout={timeout}, memory_limit="1GB")
"""


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_module_that_calls_while_it_is_imported_is_told_so_and_gets_its_results(tmp_path, timeout):
    programs.write(tmp_path / "mine.py", IMPORTED.format(timeout=timeout))
    main = programs.write(tmp_path / "main.py", "import mine\nprint(mine.FOUND)\n")
    ended = programs.run(main, cwd=tmp_path)
    assert ended.stdout == "[3, 2, 1]\n"
    assert "while 'mine' is being imported" in ended.stderr
    assert "memory_limit does not hold" in ended.stderr
