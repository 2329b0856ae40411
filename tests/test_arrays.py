"""Arrays: on their way to workers and back, captured by functions, and in memory that all share."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import everyday
import numpy as np
import programs
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from watching import PATIENCE, alive, eventually

import manyhands as mh
from manyhands._core.messages import Policy
from manyhands._engine import parcels, payload
from manyhands._engine.interface import Job
from manyhands._engine.protocol import Style
from manyhands._engine.sources import Columns
from manyhands.errors import OptionError, WorkerDied

pytestmark = [pytest.mark.timeout(60), pytest.mark.others_are_stress]
MEGABYTE = 1 << 20
BIG = 300_000  # bytes; such a buffer leaves its message


def give_back(value):
    return value


# --- on the way -------------------------------------------------------------------------------------------------


DTYPES = st.sampled_from(
    ["u1", "<f8", ">i4", "c16", "?", "M8[s]", "U3", "S5", [("x", "f8"), ("tag", "S3"), ("n", ">u2")]]
)
ORDERS = st.sampled_from(["C", "F", "reversed", "every second", "read-only", "broadcast", "transposed"])


def odd_array(dtype, shape, order, seed):
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind == "U":  # any bytes will not do
        array = np.full(shape, "añ€")
    else:
        array = np.frombuffer(np.random.default_rng(seed).bytes(size), np.uint8).copy().view(dtype).reshape(shape)
    match order:
        case "F":
            return np.asfortranarray(array)
        case "reversed":
            return array[::-1] if array.ndim else array
        case "every second":
            return array[::2] if array.ndim else array
        case "read-only":
            array.flags.writeable = False
        case "broadcast":
            return np.broadcast_to(array, (2, *array.shape))
        case "transposed":
            return array.T
    return array


def same(one, other):
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()
    )


def test_whatever_its_form_an_array_arrives_as_it_is_and_comes_back_so():
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=70)
    with mh.Executor(1, backend="processes") as executor:

        @settings(max_examples=80, deadline=None)
        @given(DTYPES, shapes, ORDERS, st.integers(0, 9))
        def goes_and_comes(dtype, shape, order, seed):
            array = odd_array(dtype, shape, order, seed)
            there, twice = executor.submit(lambda a, b: (a, (a is b)), array, array).result()
            assert there.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")  # numpy's pickle may make it ours
            assert same(there, array.astype(there.dtype))
            assert twice  # an array that two arguments share is one there, too

        goes_and_comes()


@pytest.mark.parametrize(
    "value",
    [
        np.array([{"a": 1}, [2], None] * 1000, dtype=object),
        np.ma.masked_greater(np.arange(100_000.0), 5),
        np.rec.fromarrays([np.arange(50_000), np.arange(50_000.0)], names="n,x"),
        bytes(BIG),
        bytearray(os.urandom(BIG)),
        [np.zeros(BIG), bytes(BIG), np.ones(3), np.zeros(0)],
        (bytes(BIG), "text", (bytearray(BIG), bytes(3))),
    ],
    ids=["objects", "masked", "records", "bytes", "bytearray", "several", "nested"],
)
def test_values_with_many_bytes_arrive_as_they_are(value):
    getattr(value, "fill_value", None)  # a masked array makes it when it is asked for, or unpickled
    [there] = mh.map(give_back, [value], backend="processes")
    assert type(there) is type(value)
    assert pickle.dumps(there) == pickle.dumps(value)


def numbers_and_words():
    return {"n": np.arange(200_000.0), "word": [f"word {n % 100}" for n in range(200_000)]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: pytest.importorskip("pandas").DataFrame(numbers_and_words()),
        lambda: pytest.importorskip("pandas").Series(np.arange(200_000)),
        lambda: pytest.importorskip("pyarrow").table(numbers_and_words()),
        lambda: pytest.importorskip("pyarrow").array(np.arange(200_000)),
    ],
    ids=["DataFrame", "Series", "Table", "Array"],
)
def test_tables_of_pandas_and_arrow_travel_beside_the_pickle(make):
    table = make()
    assert len(payload.pack(table).data) < 5000
    assert all(there.equals(table) for there in mh.map(give_back, [table] * 3, workers=2, backend="processes"))
    assert mh.map(lambda _: len(table), range(3), workers=2, backend="processes") == [len(table)] * 3


@pytest.mark.parametrize("size", [0, 3, BIG])
@pytest.mark.parametrize("form", ["B", "d", "i"])
def test_views_arrive_as_views(size, form, process_backend):
    view = memoryview(bytes(8 * size)).cast(form)
    [(kind, found)] = mh.map(lambda v: (type(v), v), [view], **process_backend)
    assert bytes(found) == bytes(view)
    if size:
        assert (kind, type(found), found.format) == (memoryview, memoryview, form)


def test_the_same_bytearray_twice_is_one_there(process_backend):
    content = bytearray(BIG)

    def spoil(one, other):
        one[0] = 1
        return one is other, other[0]

    assert mh.starmap(spoil, [(content, content)] * 3, workers=2, **process_backend) == [(True, 1)] * 3
    assert mh.map(lambda a: a[0] is a[1][0], [(content, [content])], **process_backend) == [True]
    assert content[0] == 0


def test_a_result_is_what_it_was_when_its_task_returned_it(process_backend):
    def task(number, kept=bytearray(BIG)):  # noqa: B008 - each worker has one, which its tasks fill again and again
        kept[0] = number
        return kept, memoryview(kept)

    found = mh.map(task, range(40), workers=2, chunksize=10, **process_backend)
    assert [(content[0], view[0]) for content, view in found] == [(number, number) for number in range(40)]


def test_long_bytes_in_one_of_several_sequences_travel_beside_the_pickle():
    rows = Columns([[bytes(BIG)] * 3, [1, 2, 3]])
    job = Job(shipment=None, style=Style.STAR, source=None, sink=None, policy=Policy())
    parcel = parcels.pack(job, rows, isolated=False, main_by_name=False)
    assert len(parcel.buffers[0]) < 1000


@pytest.mark.parametrize("value", [bytes(BIG), memoryview(bytes(BIG)), (1, (bytes(BIG),))])
def test_long_bytes_travel_beside_the_pickle(value):
    packed = payload.pack([value])
    assert len(packed.data) < 1000
    assert sum(buffer.nbytes for buffer in packed.buffers) == BIG


@everyday.any_backend
def test_arrays_of_many_sizes_are_not_mixed_up(any_backend):
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 255, size, dtype=np.uint8) for size in rng.integers(1, 2 * MEGABYTE, 60)]
    found = mh.map(lambda a: a[::-1].copy(), arrays, workers=2, **any_backend)
    assert all((one[::-1] == other).all() for one, other in zip(found, arrays, strict=True))


@pytest.mark.parametrize("size", [10, 10_000, 5 * MEGABYTE])
def test_what_a_task_does_to_its_array_stays_with_it(process_backend, size):
    """Row 53: an argument is the task's own, whatever its size."""
    array = np.zeros(size)

    def spoil(argument):
        argument += 1
        return argument[-1]

    assert mh.map(spoil, [array] * 40, workers=2, chunksize=20, **process_backend) == [1.0] * 40
    assert not array.any()


def test_what_a_task_does_to_an_array_that_it_captured_does_not_reach_the_program(process_backend):
    """Row 53."""
    array = np.zeros(5 * MEGABYTE // 8)

    def spoil(_):
        array[:] += 1
        return array[-1]

    assert min(mh.map(spoil, range(4), workers=2, **process_backend)) >= 1.0
    assert not array.any()


def test_results_may_be_written_and_outlive_the_workers(process_backend):
    """Row 51."""
    with mh.Executor(2, **process_backend) as executor:
        found = list(executor.map(lambda n: np.full(MEGABYTE // 8, n, dtype=float), range(30)))
    del executor
    for number, array in enumerate(found):
        assert (array == number).all()
        array[0] = -1


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_an_array_of_three_gigabytes_goes_there_and_back():
    array = np.zeros(3 << 30, dtype=np.uint8)
    array[[0, -1]] = 7, 9
    with mh.Executor(1, backend="processes") as executor:
        there = executor.submit(give_back, array).result()
    assert there.shape == array.shape
    assert there[[0, 1, -1]].tolist() == [7, 0, 9]


def test_a_captured_array_is_there_once_for_all_workers(start_method, tmp_path):
    """Parent and workers together have two of it: their own, and the one that all workers read."""
    megabytes = 60
    script = f"""
        import os, time
        import numpy as np, psutil
        import manyhands as mh

        def pss():
            program = psutil.Process()
            return sum(p.memory_full_info().pss for p in [program, *program.children(recursive=True)]) / 2**20

        def warm_up(place):  # returns when all three workers run it, and have numpy
            open(os.path.join(place, str(np.int64(os.getpid()))), "w").close()
            while len(os.listdir(place)) < 3:
                time.sleep(0.01)

        os.mkdir("met")
        with mh.Executor(3, backend="processes", start_method={start_method!r}) as executor:
            list(executor.map(warm_up, ["met"] * 3, chunksize=1))
            array = np.ones({megabytes} * 2**17)
            before = pss()
            task = lambda n: float(array[n::30].sum())
            for _ in range(2):
                assert sum(executor.map(task, range(30))) == array.size
            print(pss() - before)
    """
    assert float(programs.run_source(script, cwd=tmp_path).stdout) < 1.3 * megabytes


@pytest.mark.parametrize("megabytes", [2, 8, 40])
def test_large_inputs_may_travel_together(process_backend, megabytes):
    """A worker that is still receiving is not taken for one that is stuck."""
    arrays = [np.full(megabytes * 2**17, number) for number in range(4)]
    found = mh.map(lambda a: int(a[-1]), arrays, workers=2, chunksize=2, **process_backend)
    assert found == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [20_000, 2 * MEGABYTE])
def test_what_a_function_captured_is_sent_as_it_was_when_it_was_submitted(size):
    array = np.zeros(size)

    def look():
        return float(array[0])

    with mh.Executor(1, backend="processes") as executor:
        before = executor.submit(look)
        array[:] = 5
        assert before.result() == 0.0
        assert executor.submit(look).result() == 5.0
        array[:] = 0
        assert executor.submit(look).result() == 0.0


def test_a_captured_array_that_was_changed_is_sent_anew(process_backend):
    array = np.zeros(2 * MEGABYTE)
    for value in range(3):
        array[-1] = value
        assert mh.map(lambda _: array[-1], range(3), workers=2, **process_backend) == [value] * 3


def test_an_initializer_may_bring_a_large_array(process_backend):
    array = np.arange(2.0 * MEGABYTE)

    def keep(given):
        global kept
        kept = given

    def read(n):
        return float(kept[n])

    with mh.Executor(2, initializer=keep, initargs=(array,), **process_backend) as executor:
        assert list(executor.map(read, range(20))) == [float(n) for n in range(20)]


# --- without shared memory --------------------------------------------------------------------------------------


SUMS = """
    import logging
    import numpy as np
    import manyhands as mh
    logging.basicConfig(format="LOG %(message)s")
    arrays = [np.full(200_000, n) for n in range(20)]
    captured = np.arange(400_000)
    found = mh.map(lambda a: (a * 2, captured[-1]), arrays, workers=2, backend="processes")
    assert all((one == 2 * other).all() and last == 399_999 for (one, last), other in zip(found, arrays))
    print("fine")
"""


@pytest.mark.parametrize(("kind", "warnings"), [("memfd", 0), ("file", 0), ("none", 1)])
def test_other_systems_ways_give_the_same(kind, warnings, tmp_path):
    """Row 48: without memory files there are temporary ones, without these the socket, and one warning."""
    ran = programs.run_source(SUMS, cwd=tmp_path, env=programs.environment(MANYHANDS_SHARED_MEMORY=kind))
    assert ran.stdout == "fine\n"
    assert ran.stderr.count("LOG big arrays take the slower way") == warnings


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_full_file_system_is_a_warning_and_no_bus_error(tmp_path):
    """Row 48."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        env = programs.environment(MANYHANDS_SHARED_MEMORY="file", TMPDIR=str(tmp_path))
        ran = programs.run_source(SUMS, cwd=tmp_path, env=env)
        assert ran.stdout == "fine\n"
        assert ran.stderr.count("LOG big arrays take the slower way") == 1
        told = """
            import manyhands as mh
            try:
                mh.empty_shared(10_000_000)
            except OSError as error:
                print(error)
        """
        assert "No space left" in programs.run_source(told, cwd=tmp_path, env=env).stdout
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# --- shared arrays ----------------------------------------------------------------------------------------------


@everyday.any_backend
def test_tasks_write_into_a_shared_array_and_the_program_sees_it(any_backend):
    squares = mh.share(np.arange(1_000_000.0))

    def square(start):
        squares[start : start + 250_000] **= 2

    mh.map(square, range(0, 1_000_000, 250_000), workers=2, **any_backend)
    assert (squares == np.arange(1_000_000.0) ** 2).all()


@everyday.any_backend
def test_the_program_writes_and_tasks_that_run_already_see_it(any_backend, tmp_path):
    flags = mh.empty_shared(2, dtype="int64")

    def meet(_):
        flags[0] = 1
        end = time.monotonic() + PATIENCE
        while not flags[1] and time.monotonic() < end:
            time.sleep(0.001)
        return int(flags[1])

    if any_backend["backend"] in {"serial", "auto"}:
        flags[1] = 7
        assert mh.map(meet, range(2), **any_backend) == [7, 7]
        return
    with mh.Executor(1, **any_backend) as executor:
        found = executor.submit(meet, 0)
        assert eventually(lambda: flags[0])
        flags[1] = 7
        assert found.result() == 7


VIEWS = {
    "slice": lambda a: a[3:50],
    "steps": lambda a: a[1::7],
    "reversed": lambda a: a[::-1],
    "column": lambda a: a.reshape(100, 10)[:, 3],
    "transposed": lambda a: a.reshape(100, 10).T,
    "bytes": lambda a: a.view("u1"),
    "nothing": lambda a: a[:0],
}


@everyday.process_backend
@pytest.mark.parametrize("form", VIEWS)
def test_views_stay_shared_as_arguments_captured_and_as_results(process_backend, form):
    whole = mh.share(np.arange(1000.0))
    view = VIEWS[form](whole)

    def write(argument):
        argument[...] = 1
        return VIEWS[form](whole)

    expected = np.arange(1000.0)
    VIEWS[form](expected)[...] = 1
    [there, again] = mh.map(write, [view, view], workers=2, **process_backend)
    assert (whole == expected).all()
    there[...] = 2
    assert (np.asarray(again) == 2).all()
    assert np.array_equal(np.asarray(view), np.asarray(there))


def test_a_shared_array_is_not_copied_however_often_it_travels(process_backend):
    shared = mh.share(np.zeros(20 * MEGABYTE, dtype=np.uint8))

    def faults(array):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        array[:100] += 1
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with mh.Executor(1, **process_backend) as executor:
        assert max(executor.map(faults, [shared] * 50)) < 100
    assert shared[0] == 50


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.zeros((0, 5)),
        np.array(3.5),
        np.array([(1, 2.0)], dtype=[("n", "i4"), ("x", "f8")]),
        np.arange(10)[::-1],
        [[1, 2], [3, 4]],
    ],
    ids=["Fortran", "empty", "number", "structured", "reversed", "lists"],
)
def test_whatever_its_form_an_array_can_be_shared(array):
    shared = mh.share(array)
    array = np.asarray(array)
    assert same(np.asarray(shared), array)
    assert shared.flags.f_contiguous or not array.flags.f_contiguous
    assert same(mh.map(give_back, [shared], backend="processes")[0], array)


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(OptionError, match="Python objects"):
        mh.share(np.array([None]))
    with pytest.raises(OptionError, match=r"shape=2\.5: a whole number"):
        mh.empty_shared(2.5)
    with pytest.raises(OptionError, match="negative"):
        mh.empty_shared((3, -1))
    with pytest.raises(OSError, match="GB of memory left"):
        mh.empty_shared(1 << 55)


def test_a_view_that_is_read_only_stays_so(process_backend):
    shared = mh.share(np.zeros(10))
    shared.flags.writeable = False

    def write(array):
        array[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        mh.map(write, [shared], **process_backend)


def test_what_is_computed_from_a_shared_array_is_an_ordinary_one():
    shared = mh.share(np.arange(6.0).reshape(2, 3))
    assert type(shared + 1) is np.ndarray
    assert type(shared.sum()) is np.float64
    assert type(np.sqrt(shared)) is np.ndarray
    before = shared
    shared += 1
    assert shared is before
    assert shared[0, 0] == 1


def test_a_copy_or_a_pickle_is_not_shared():
    shared = mh.share(np.zeros(5))
    for other in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared, 5)), shared.copy(), shared[[0, 1]]):
        other[0] = 1
        [there] = mh.map(give_back, [other], backend="processes")
        there[0] = 5
        assert other[0] == 1
    assert shared[0] == 0
    assert len(pickle.dumps(mh.share(np.zeros(MEGABYTE))[:3])) < 1000


class PicklesItself:
    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        return pickle.loads, (pickle.dumps(self.array, 5),)


def test_an_object_that_pickles_a_shared_array_itself_takes_a_copy(process_backend):
    shared = mh.share(np.arange(5.0))
    [there] = mh.map(give_back, [PicklesItself(shared)], **process_backend)
    assert there.tolist() == [0, 1, 2, 3, 4]
    there[0] = 7
    assert shared[0] == 0


def test_tasks_with_a_large_shared_array_are_not_sent_one_by_one():
    """Its bytes do not travel."""
    shared = mh.share(np.zeros(10 * MEGABYTE, dtype=np.uint8))
    mh.map(len, [shared] * 5000, backend="processes", workers=2)
    assert mh.last_report().chunks < 1000


def test_hundreds_of_shared_arrays_can_travel_together(process_backend):
    arrays = [mh.share([number]) for number in range(150)]

    def add(several):
        for array in several:
            array[0] += 1

    mh.map(add, [arrays], **process_backend)
    assert [int(array[0]) for array in arrays] == list(range(1, 151))


def shared_megabytes(pid="self"):
    """Its part of what a process shares with others."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss_Shmem:")[1].split()[0]) / 1024


def test_the_memory_goes_with_its_last_user():
    """Row 52."""
    before = shared_megabytes()
    shared = mh.share(np.ones(100 * MEGABYTE // 8))
    part = shared[-10:]
    with mh.Executor(2, backend="processes") as executor:
        assert list(executor.map(len, [shared] * 10)) == [len(shared)] * 10
    del shared, executor
    gc.collect()
    assert shared_megabytes() > before + 80  # part is still there
    assert part.sum() == 10
    del part
    gc.collect()
    assert eventually(lambda: shared_megabytes() < before + 30)


def test_nothing_is_left_of_it_when_everybody_is_killed(start_method, tmp_path):
    """Row 52: kill -9 of the program, in the midst of a task. The memory has no name: it goes with its last process."""
    script = f"""
        import time
        import numpy as np, manyhands as mh
        shared, captured = mh.share(np.ones(50 * 2**17)), np.ones(50 * 2**17)
        def wait(n):
            shared[n] += captured[n]
            print("begun", flush=True)
            time.sleep(60)
        mh.map(wait, range(2), workers=2, backend="processes", start_method={start_method!r})
    """
    command = [sys.executable, programs.write(tmp_path / "program.py", script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=programs.environment()) as program:
        assert program.stdout.readline() == "begun\n"
        assert shared_megabytes(program.pid) > 10
        workers = psutil.Process(program.pid).children(recursive=True)
        program.kill()
    assert eventually(lambda: not any(alive(worker.pid) for worker in workers))


# --- locks ------------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_under_a_lock_nothing_is_lost(any_backend):
    total = mh.empty_shared(1, dtype="int64")

    def add(n):
        with mh.lock():
            before = int(total[0])
            for _ in range(20):
                pass
            total[0] = before + n

    mh.map(add, range(2000), workers=3, **any_backend)
    assert total[0] == sum(range(2000))


@pytest.mark.parametrize("started", ["before", "meanwhile"])
def test_the_program_and_its_tasks_have_the_same_lock(process_backend, tmp_path, started):
    """Also a worker that is forked while the program holds it."""
    begun, done = tmp_path / "begun", tmp_path / "done"

    def write():
        begun.touch()
        with mh.lock("of this test"):
            done.touch()

    with mh.Executor(1, **process_backend) as executor:
        if started == "before":
            executor.submit(int).result()
        with mh.lock("of this test"):
            found = executor.submit(write)
            assert eventually(begun.exists)
            with mh.lock("another"):
                assert not done.exists()
        assert found.result(PATIENCE) is None
        assert done.exists()


@pytest.mark.parametrize(
    "view_of",
    [
        np.asarray,
        lambda shared: shared.view(np.ndarray),
        lambda shared: np.asarray(shared)[:, ::2],
        lambda shared: np.lib.stride_tricks.as_strided(shared, shared.shape, shared.strides),
        lambda shared: memoryview(shared),
    ],
    ids=["asarray", "view", "strided", "as_strided", "memoryview"],
)
@pytest.mark.parametrize("captured", [True, False])
def test_plain_views_of_a_shared_array_stay_shared(process_backend, view_of, captured):
    shared = mh.empty_shared((6, 1000))
    view = np.asarray(view_of(shared))

    def fill(row, given):
        (view if captured else given)[row] = row + 1

    mh.map(fill, range(6), [None if captured else view] * 6, workers=2, **process_backend)
    assert shared[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_plain_view_that_comes_back_is_the_memory_itself(process_backend):
    shared = mh.empty_shared(1000, "int64")
    view = np.asarray(shared)
    [back] = mh.map(lambda _: view[10:20], [0], **process_backend)
    assert type(back) is np.ndarray
    back[:] = 7
    assert shared[10:20].tolist() == [7] * 10


def test_it_can_be_asked_whether_an_array_is_shared():
    shared = mh.empty_shared((3, 4))
    assert shared.is_shared
    assert shared[1:, ::2].T.is_shared
    assert not shared.copy().is_shared
    assert not shared[[0, 1]].is_shared
    assert not shared.astype("int32").is_shared


def test_a_masked_array_is_not_shared_without_its_mask():
    with pytest.raises(mh.OptionError, match=r"its \.data and its \.mask"):
        mh.share(np.ma.array([1, 2], mask=[False, True]))


def test_a_result_that_cannot_be_received_is_its_own_tasks_trouble(tmp_path):
    """Row 18: the program has too few descriptors for it; the worker lives, and nobody else is to blame."""
    program = programs.write(
        tmp_path / "main.py",
        """
        import os, resource, time
        import numpy as np
        import manyhands as mh

        def task(n):
            time.sleep(0.01)  # results that come at once travel together, and are lost together
            return [mh.share(np.ones(10)) for _ in range(40)] if n == 3 else (n, os.getpid())

        mh.map(abs, range(8), workers=2, backend="processes")
        there = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (there + 30, there + 30))
        results = mh.map(task, range(40), workers=2, backend="processes", chunksize=1, on_error="collect")
        (failure,) = [result for result in results if isinstance(result, mh.Failure)]
        print(failure.index, type(failure.error).__name__, "ulimit -n" in str(failure.error))
        print(len({pid for _, pid in (result for result in results if not isinstance(result, mh.Failure))}) <= 2)
        """,
    )
    assert programs.run(program, cwd=tmp_path).stdout == "3 NotSendable True\nTrue\n"


def test_arguments_that_cannot_be_received_are_their_own_tasks_trouble(process_backend):
    def lower(_):
        import resource

        there = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (there + 8, there + 8))

    many = [mh.share(np.ones(10)) for _ in range(40)]
    with mh.Executor(1, **process_backend) as executor:
        executor.submit(lower, None).result()
        with pytest.raises(mh.NotSendable, match="arguments could not be received"):
            executor.submit(len, many).result()
        assert executor.submit(abs, -1).result() == 1


def test_a_fork_that_comes_out_of_a_lock_has_locks_of_its_own(tmp_path):
    """Forked inside its parent's ``with``, it takes another lock, then its parent's, and leaves that ``with``."""
    free = tmp_path / "free"

    def waits_until_free():
        with mh.lock("of a fork"):
            return free.exists()

    pid = None
    try:
        with mh.lock("of a fork"):
            pid = os.fork()
            if pid == 0:
                with mh.lock("another"):
                    waited = waits_until_free()
            else:
                free.touch()
        if pid == 0:
            os._exit(7 if waited and waits_until_free() else 1)
    finally:
        if pid == 0:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert waits_until_free()


def test_who_has_a_lock_may_take_it_again():
    def nested(n):
        with mh.lock(), mh.lock(), mh.lock("other"):
            return n

    assert mh.map(nested, range(20), backend="processes", workers=2) == list(range(20))
    assert mh.map(nested, range(20), backend="threads", workers=2) == list(range(20))


def test_a_lock_whose_owner_is_killed_goes_to_the_next(process_backend):
    def task(n):
        with mh.lock():
            if n == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return n

    found = mh.map(task, range(20), workers=2, chunksize=1, on_error="collect", **process_backend)
    assert isinstance(found[3].error, WorkerDied)
    assert [n for n in found if isinstance(n, int)] == [n for n in range(20) if n != 3]


def test_two_that_would_wait_for_each_other_for_ever_are_told(tmp_path):
    """The system sees it."""
    meeting = mh.empty_shared(2, dtype="int8")

    def task(n):
        with mh.lock(f"lock {n}"):
            meeting[n] = 1
            end = time.monotonic() + PATIENCE
            while not meeting.all() and time.monotonic() < end:
                time.sleep(0.001)
            with mh.lock(f"lock {1 - n}"):
                return n

    found = mh.map(task, range(2), backend="processes", workers=2, on_error="collect")
    assert any(isinstance(one, mh.Failure) and "same order everywhere" in str(one.error) for one in found)


def test_a_shared_array_is_freed_with_its_last_user_though_workers_stay_warm(process_backend):
    def memory_files():
        found = 0
        for pid in {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found += "memfd" in os.readlink(link) and 9_876_536 <= link.stat().st_size < 9_900_000
        return found

    assert memory_files() == 0
    shared = mh.share(np.arange(1_234_567.0))  # nobody else has one of this size
    assert mh.map(np.sum, [shared] * 4, workers=2, **process_backend) == [shared.sum()] * 4
    assert memory_files() > 0
    del shared
    gc.collect()
    assert eventually(lambda: memory_files() == 0)


@pytest.mark.parametrize("slow_seconds", [0.0, 60.0])
@pytest.mark.parametrize("size", [(4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_999_999])
def test_large_results_are_the_callers_own(size, slow_seconds, process_backend, monkeypatch):
    """They arrive in large pages, where the system has such and they do not count as slow."""
    monkeypatch.setattr("manyhands._engine.heap._SLOW_SECONDS", slow_seconds)
    results = mh.map(lambda number: np.full(size, number, np.uint8), range(1, 4), workers=2, **process_backend)
    for number, result in enumerate(results, 1):
        assert result.shape == (size,)
        assert result.min() == result.max() == number
        result[-1] = 0
    assert [result[-2] for result in results] == [1, 2, 3]
    assert [result[-1] for result in results] == [0, 0, 0]
