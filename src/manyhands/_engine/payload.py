"""Objects to bytes and back: all that users give us passes here (but the extras of log records, see `words`).

Plain pickle goes first, because it is fast. It refers to functions and classes by name; what lives in
``__main__`` has no name elsewhere, so whatever mentions it is packed again by cloudpickle, by value. The same
happens to names that a worker said it could not find (a class made at run time inside an importable module).

Classes sent by value keep their identity. A worker marks the classes it received; in its results they go
back as a mere tag, and become the caller's own class again. (Stock cloudpickle would send the whole class
back and overwrite the methods of the caller's class with copies.)

Buffers of 64 KB and more (numpy arrays, bytes, whatever speaks PickleBuffer) leave the pickle and travel beside
it: how, `frames` says.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import io
import math
import pickle
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, ClassVar, NamedTuple
from weakref import WeakSet

from manyhands._engine import bulk
from manyhands._engine.first_use import undisturbed
from manyhands._engine.memory import BIG_BUFFER, Segment, segment_of
from manyhands.interrupts import is_of_a_signal

_MAIN = b"__main__"
# Types whose unpickling runs no code but the interpreter's own: these may share one pickle.
SIMPLE: frozenset[type] = frozenset({type(None), bool, int, float, complex, str, bytes})

SEGMENT_BYTES = 1 << 20  # from this size on a function's array is put into memory that all workers share

_here = threading.local()  # .packing: this thread packs something for another process of ours
_by_value: set[tuple[str, str]] = set()  # (module, name) that some worker could not import; no name: all of it
_special: dict[type, Callable[[Any], Any]] = {}  # see reduce_specially
_received: WeakSet[type] = WeakSet()  # in a worker: classes that came from the caller by value


class Packed(NamedTuple):
    """A pickle, the big buffers that travel beside it, and the classes that it brings by value (their tags)."""

    data: Any
    buffers: tuple[Any, ...] = ()
    classes: frozenset[str] = frozenset()

    def size(self) -> int:
        """Bytes altogether."""
        return len(self.data) + sum(memoryview(b).nbytes for b in self.buffers)


class MissingGlobalError(AttributeError):
    """Unpickling asked for a name that this process cannot find."""

    def __init__(self, module: str, name: str, reason: str) -> None:
        super().__init__(f"cannot find {name!r} in module {module!r}: {reason}")
        self.where = (module, name)


def pack(
    value: object,
    *,
    main_by_name: bool = False,
    reply: bool = False,
    inline: bool = False,
) -> Packed:
    """Pack an object. Raises whatever pickling raises.

    ``reply``: in a worker, for the way back to the caller, whose ``__main__`` is the real one.
    ``main_by_name``: the receiver was forked from this process and has its ``__main__``.
    ``inline``: keep big buffers in the pickle.
    """
    before, _here.packing = is_packing(), not inline
    try:
        apart = value if inline else bulk.set_apart(value)
        return _pack(apart, by_name=main_by_name or reply, reply=reply, inline=inline)
    finally:
        _here.packing = before


def pack_simple(values: list[Any]) -> Packed:
    """Pack a list of objects of SIMPLE types."""
    buffers: list[Any] = []
    data = pickle.dumps(bulk.set_apart(values), 5, buffer_callback=_big_ones_to(buffers))
    return Packed(data, _raw(buffers))


def _pack(value: object, *, by_name: bool, reply: bool, inline: bool) -> Packed:
    buffers: list[Any] = []
    keep_in_band = _big_ones_to(buffers, inline=inline)
    try:
        data = _dumps(value, keep_in_band)
    except Exception as error:  # anything may come out of __reduce__; cloudpickle has the last word
        if is_of_a_signal(error):
            raise
        buffers.clear()
    else:
        if not _needs_value(data, by_name=by_name):
            return Packed(data, _raw(buffers)) if buffers else Packed(data)
        buffers.clear()
    target = io.BytesIO()
    made = pickler(target, keep_in_band, reply=reply)
    made.dump(value)
    return Packed(target.getvalue(), _raw(buffers), frozenset(made.classes))


def _big_ones_to(buffers: list[Any], *, inline: bool = False) -> Callable[[pickle.PickleBuffer], bool]:
    """A buffer_callback."""

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        with buffer.raw() as view:
            small = inline or view.nbytes < BIG_BUFFER
        if not small:
            buffers.append(buffer)
        return small

    return keep_in_band


def _dumps(value: object, keep_in_band: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    if not _special:
        return pickle.dumps(value, 5, buffer_callback=keep_in_band)
    target = io.BytesIO()
    _plain_pickler(target, keep_in_band).dump(value)
    return target.getvalue()


def _plain_pickler(target: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool]) -> pickle.Pickler:
    made = pickle.Pickler(target, 5, buffer_callback=keep_in_band)
    if _special:
        table: Any = ChainMap(_special, copyreg.dispatch_table)
        made.dispatch_table = table
    return made


def reduce_specially(cls: type, reduce: Callable[[Any], Any]) -> None:
    """From now on this is how objects of exactly this class are pickled for other processes of ours."""
    _special[cls] = reduce


def is_packing() -> bool:
    """The calling thread is in `pack`: what is pickled goes to a process of ours, with which memory can be shared."""
    return getattr(_here, "packing", False)


class Weight(NamedTuple):
    """Bytes, infinitely many if that was not known in time; and the seconds of work that it took to tell."""

    bytes: float
    seconds: float


def weigh(value: object, within: float = math.inf) -> Weight:
    """What its pickle and its big buffers weigh, which are not copied for that; not memory that is shared."""
    before, _here.packing = is_packing(), True
    try:
        return _weigh(value, within)
    finally:
        _here.packing = before


def _weigh(value: object, within: float) -> Weight:
    spent = 0.0
    for make in _plain_pickler, pickler:
        buffers: list[Any] = []
        sink = _Sink(any_name=make is pickler)
        made = make(sink, _big_ones_to(buffers))
        began = time.thread_time()  # from now: cloudpickle had to be imported
        sink.until = began + within - spent
        if make is pickler:
            made.reducer_override = _timed(made.reducer_override, sink)  # type: ignore[method-assign]
        try:
            _dump(made, value)
        except _TooLongError:
            return Weight(math.inf, spent + time.thread_time() - began)
        except Exception as error:  # anything may come out of __reduce__; cloudpickle has the last word
            if make is pickler or is_of_a_signal(error):
                raise
        else:
            return Weight(sink.bytes + travelling(_raw(buffers)), spent + time.thread_time() - began)
        spent += time.thread_time() - began
    raise AssertionError  # the second has returned or raised


def _dump(made: Any, value: object) -> None:
    """And then it holds neither itself nor all that it has seen."""
    try:
        made.dump(value)
    finally:
        getattr(made, "__dict__", {}).pop("reducer_override", None)


def _timed(reduce: Callable[[Any], Any], sink: _Sink) -> Callable[[Any], Any]:
    """Objects of the program's own classes are slow to pickle, and a sink hears of them only by the ten thousand."""

    def reduce_in_time(value: Any) -> Any:
        sink.look_at_the_time()
        return reduce(value)

    return reduce_in_time


class _TooLongError(Exception):
    """The time is up."""


class _ByValueError(Exception):
    """There is a name that another process cannot find."""


class _Sink:
    """What a pickle is written to of which only the weight is wanted."""

    def __init__(self, *, any_name: bool) -> None:
        self.bytes = 0
        self.until = math.inf  # by this thread's own time: others may have the interpreter meanwhile
        self._any_name = any_name

    def write(self, data: Any) -> None:
        self.bytes += len(data)
        if not self._any_name and _needs_value(data):
            raise _ByValueError
        self.look_at_the_time()

    def look_at_the_time(self) -> None:
        """Raise if it is up."""
        if time.thread_time() > self.until:
            raise _TooLongError


def travelling(buffers: Iterable[Any]) -> int:
    """Bytes that are copied on their way; what lies in shared memory is not."""
    views = [memoryview(buffer) for buffer in buffers]
    return sum([view.nbytes for view in views if segment_of(view) is None])


def with_own_buffers(packed: Packed) -> Packed:
    """Copy its buffers, so that later changes of the originals do not show; those in segments already stay there.

    Large ones go to a segment, of which each receiver sees only its own writes, or, without room for that, to memory of
    their own as the small ones do.
    """
    return packed._replace(buffers=tuple(map(_own, packed.buffers)))


def _own(buffer: memoryview) -> memoryview:
    if segment_of(buffer) is not None:
        return buffer
    if buffer.nbytes >= SEGMENT_BYTES:
        with contextlib.suppress(OSError):  # there is not enough of that memory
            return memoryview(Segment.copy_of(buffer))
    return memoryview(bytes(buffer))


def can_pack(value: object) -> bool:
    """It would travel to a worker."""
    try:
        pack(value)
    except Exception as error:  # user code in __reduce__
        if is_of_a_signal(error):
            raise
        return False
    return True


def _needs_value(data: Any, *, by_name: bool = False) -> bool:
    """This pickle refers to something that the receiver cannot find by its name."""
    missing = (name or module for module, name in tuple(_by_value))
    return (not by_name and _MAIN in data) or any(name.encode() in data for name in missing)


def _raw(buffers: list[Any]) -> tuple[Any, ...]:
    return tuple(buffer.raw() for buffer in buffers)


def unpack(packed: Packed) -> Any:
    """The object again. Raises whatever unpickling raises."""
    return pickle.loads(packed.data, buffers=packed.buffers)


def missing_global(packed: Packed) -> tuple[str, str] | None:
    """After unpacking has failed: the (module, name) that it looked for in vain, if that was the reason.

    Without a name if there is no such module.
    """
    try:
        _Unpickler(io.BytesIO(packed.data), buffers=packed.buffers).load()
    except MissingGlobalError as error:
        return error.where
    except BaseException:  # noqa: BLE001 - user code; it has failed before, and is reported there
        return None
    return None


def track_classes(functions: Iterable[Any]) -> None:
    """Before a fork: let classes that cannot be imported keep their identity when instances travel back.

    Those are the classes of ``__main__``, and what these functions capture or use directly.
    """
    import __main__

    cp = _cloudpickle()
    seen = list(vars(__main__).values())
    for func in functions:
        if isinstance(func, tuple):
            continue  # an initializer and its arguments
        inner = getattr(func, "__func__", func)
        used = getattr(getattr(inner, "__code__", None), "co_names", ())
        seen += [value for name, value in getattr(inner, "__globals__", {}).items() if name in used]
        for cell in getattr(inner, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # an empty cell
                seen.append(cell.cell_contents)
        seen += [inner, getattr(func, "__self__", None)]
    for value in seen:
        cls = value if isinstance(value, type) else type(value)
        if _is_by_value(cls) or not cp._should_pickle_by_reference(cls):
            cp._get_or_create_tracker_id(cls)


def own_tracked_classes() -> None:
    """After a fork, in the child: the classes tracked so far are the caller's."""
    from cloudpickle import cloudpickle as cp

    _received.update(cp._DYNAMIC_CLASS_TRACKER_BY_CLASS)


def goes_by_value(module: str, name: str) -> bool:
    """Some worker could not find this name."""
    return (module, name) in _by_value or (module, "") in _by_value


def send_by_value(where: tuple[str, str]) -> None:
    """From now on send this (module, name) by value."""
    _by_value.add(where)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return super().find_class(module, name)
        except (AttributeError, ImportError) as error:
            gone = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
            raise MissingGlobalError(module, "" if gone else name, str(error)) from error


@functools.cache
def _cloudpickle() -> Any:
    return undisturbed(lambda: import_module("cloudpickle.cloudpickle"))


_pickler_class: Any = None


def pickler(target: Any, buffer_callback: Any, *, reply: bool = False) -> Any:
    """A cloudpickle Pickler that keeps the identity of classes; cloudpickle is imported on first use."""
    global _pickler_class  # noqa: PLW0603 - a lazy class cannot be made at import
    if _pickler_class is None:
        _pickler_class = undisturbed(lambda: _pickler_class or _make_pickler())
    made = _pickler_class(target, 5, buffer_callback=buffer_callback)
    made.reply = reply
    return made


def _make_pickler() -> Any:  # noqa: C901 - one class, made once cloudpickle is there
    from cloudpickle import cloudpickle as cp

    class Pickler(cp.Pickler):  # type: ignore[misc]
        reply = False
        dispatch_table: ClassVar[Any] = ChainMap({memoryview: bulk.reduce_view}, cp.Pickler.dispatch_table)

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.classes: set[str] = set()

        def reducer_override(self, obj: Any) -> Any:
            if type(obj) in _special:
                return _special[type(obj)](obj)
            if isinstance(obj, type):
                return self._reduce_class(obj)
            if isinstance(obj, io.IOBase) and not isinstance(obj, io.StringIO | io.BytesIO):
                raise pickle.PicklingError("an open file cannot be sent; send its path, and open it in the function")
            if isinstance(obj, _CACHED) and _has_no_home(obj):
                cached: Any = obj
                return _cache_anew, (cached.__wrapped__, cached.cache_parameters())
            if type(obj) is functools.cached_property:  # in Python 3.11 it holds a lock
                return _property_anew, (obj.func, obj.attrname)
            if callable(obj) and _is_by_value(obj) and hasattr(obj, "__code__"):
                return self._mark_function(self._dynamic_function_reduce(obj))
            return self._mark_function(super().reducer_override(obj))

        def _reduce_class(self, cls: type) -> Any:
            if self.reply and cls in _received:
                return _own_class, (cp._get_or_create_tracker_id(cls),)
            reduced = cp._dynamic_class_reduce(cls) if _is_by_value(cls) else super().reducer_override(cls)
            if isinstance(reduced, tuple) and reduced[0] is cp._make_skeleton_class and _has_slots(cls):
                reduced[1][_NAMESPACE]["__slots__"] = vars(cls)["__slots__"]
            return self._mark(cls, reduced)

        def _mark_function(self, reduced: Any) -> Any:
            if self.reply or not isinstance(reduced, tuple) or reduced[-1] is not cp._function_setstate:
                return reduced
            return (*reduced[:-1], _receive_function)

        def _mark(self, cls: type, reduced: Any) -> Any:
            # Only on the way out: the setter runs in the worker and notes that the class is the caller's.
            if self.reply or not isinstance(reduced, tuple) or reduced[-1] is not cp._class_setstate:
                return reduced
            self.classes.add(cp._get_or_create_tracker_id(cls))
            return (*reduced[:-1], _receive_class)

    return Pickler


_NAMESPACE = 3  # among the arguments by which cloudpickle makes a class anew: what is there from the beginning


def _has_slots(cls: type) -> bool:
    """Its instances have no dictionary of its making, and must not have one elsewhere: it could not come back.

    A class that cloudpickle itself has made anew has one, and the names of its slots no more than that.
    """
    slots: Any = vars(cls).get("__slots__")
    return bool(slots) and ("__dict__" not in vars(cls) or "__dict__" in slots)


_CACHED: type = type(functools.lru_cache(len))


def _has_no_home(cached: Any) -> bool:
    """A function under lru_cache that cannot be imported: pickled by name only, where there is no such name."""
    return cached.__module__ == "__main__" or "<locals>" in cached.__qualname__ or _is_by_value(cached)


def _cache_anew(func: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(func)


def _property_anew(func: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(func)
    if name is not None:
        made.__set_name__(object, name)
    return made


def _is_by_value(obj: Any) -> bool:
    return bool(_by_value) and goes_by_value(getattr(obj, "__module__", ""), getattr(obj, "__qualname__", ""))


def _receive_class(cls: type, state: Any) -> type:
    from cloudpickle import cloudpickle as cp

    _received.add(cls)
    received: type = cp._class_setstate(cls, state)
    return received


# In a worker, by module: the globals that its initializer has set, which functions that come later shall see.
_initialised: dict[str, dict[str, Any]] = {}


def _receive_function(func: Any, state: Any) -> None:
    from cloudpickle import cloudpickle as cp

    cp._function_setstate(func, state)
    if func.__module__ in _initialised:
        func.__globals__.update(_initialised[func.__module__])


def run_initializer(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """Call it. What came by value has globals of its own; what it sets there is kept for the tasks' functions."""
    inner = getattr(initializer, "__func__", initializer)
    namespace = getattr(inner, "__globals__", None)
    before = dict(namespace) if namespace is not None else {}
    initializer(*initargs)
    if namespace is not None:
        changed = {k: v for k, v in namespace.items() if k not in before or before[k] is not v}
        _initialised[inner.__module__] = changed


def _own_class(tracker_id: str) -> type:
    from cloudpickle import cloudpickle as cp

    found = cp._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if found is None:
        raise pickle.UnpicklingError("the class of this object no longer exists in the calling process")
    known: type = found
    return known
