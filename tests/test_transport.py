"""Frames over real sockets, and how many cores there are."""

from __future__ import annotations

import array
import contextlib
import itertools
import os
import pathlib
import pickle
import random
import selectors
import socket
import subprocess
import sys
import threading
import unittest.mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import environment
from watching import PATIENCE, eventually

from manyhands._core.ring import Ring
from manyhands._engine import lanes, memory
from manyhands._engine.cpus import cgroup_quota, cpu_count
from manyhands._engine.transport import Channel

pytestmark = pytest.mark.timeout(60)

SIZES = [0, 1, 7, 8, 4096, (1 << 16) - 1, 1 << 16, (1 << 17) - 1, 1 << 17, (1 << 17) + 1, (1 << 18) + 3, (2 << 20) + 5]
MESSAGES = st.tuples(st.integers(0, 20), st.text(max_size=20), st.none() | st.binary(max_size=50))


@contextlib.contextmanager
def connection():
    """The end that never blocks and the end that does."""
    pair = socket.socketpair()
    ours, theirs = Channel(pair[0], blocking=False), Channel(pair[1], blocking=True)
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def plain(frame):
    """A frame in values that can be compared."""
    return frame.message, [bytes(buffer) for buffer in frame.buffers]


def on_the_wire(*frames):
    """What is written for these frames when all of it takes the socket."""
    with unittest.mock.patch.dict(os.environ, MANYHANDS_SHARED_MEMORY="none"), connection() as (ours, theirs):
        written = bytearray()
        reader = threading.Thread(target=lambda: written.extend(_read_all(ours.socket)))
        ours.socket.setblocking(True)
        reader.start()
        for message, buffers in frames:
            theirs.send(message, buffers)
        theirs.socket.shutdown(socket.SHUT_WR)
        reader.join(PATIENCE)
        return bytes(written)


def _read_all(sock):
    parts = []
    while data := sock.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


def write_out(channel):
    """Flush whenever the socket can take something, until all is written."""
    with selectors.DefaultSelector() as selector:
        selector.register(channel.socket, selectors.EVENT_WRITE)
        while channel.backlog:
            assert selector.select(PATIENCE), "the other end does not read"
            channel.flush()


def read_in(channel, frames):
    """Take what arrives until there are so many frames."""
    found = []
    with selectors.DefaultSelector() as selector:
        selector.register(channel.socket, selectors.EVENT_READ)
        while len(found) < frames:
            assert selector.select(PATIENCE), f"only {len(found)} frames came"
            more, ended = channel.arrived()
            found += more
            assert not ended or len(found) >= frames
    return found


@pytest.fixture(params=["memfd", "file", "none"])
def ends(request, monkeypatch):
    """Both ends, with each kind of shared memory beside the socket."""
    monkeypatch.setenv("MANYHANDS_SHARED_MEMORY", request.param)
    with connection() as (ours, theirs):
        yield ours, theirs


# --- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_buffers_of_all_sizes_arrive_at_either_end(ends, size):
    ours, theirs = ends
    data = noise(size)
    writer = threading.Thread(target=lambda: (ours.send((1,), (data,)), write_out(ours)))
    writer.start()
    assert plain(theirs.receive()) == ((1,), [data])
    writer.join(PATIENCE)
    writer = threading.Thread(target=theirs.send, args=((2,), (data, data)))
    writer.start()
    assert list(map(plain, read_in(ours, 1))) == [((2,), [data, data])]
    writer.join(PATIENCE)


def test_a_frame_may_have_no_buffers_or_empty_ones(ends):
    ours, theirs = ends
    for frame in [((), ()), ((1,), ()), ((2,), (b"",)), ((3,), (b"", b"x", b"")), ((None, "é", [1.5]), (b"", b""))]:
        ours.send(*frame)
        assert plain(theirs.receive()) == (frame[0], list(frame[1]))


def test_a_frame_may_have_more_buffers_than_the_system_takes_at_once(ends):
    ours, theirs = ends
    buffers = tuple(noise(n % 40, n) for n in range(5000))
    writer = threading.Thread(target=lambda: (ours.send((1,), buffers), write_out(ours)))
    writer.start()
    assert plain(theirs.receive()) == ((1,), list(buffers))
    writer.join(PATIENCE)


def test_a_message_may_be_large_itself(ends):
    ours, theirs = ends
    text = "x" * (3 << 20)
    writer = threading.Thread(target=lambda: (ours.send((text,)), write_out(ours)))
    writer.start()
    assert theirs.receive().message == (text,)
    writer.join(PATIENCE)


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(b"abc"),
        memoryview(b"abcdef")[2:4],
        array.array("d", [1.5, 2.5]),
        np.arange(12, dtype=np.int32).reshape(3, 4),
        pickle.PickleBuffer(b"abc"),
    ],
    ids=["bytearray", "memoryview", "array", "numpy", "PickleBuffer"],
)
def test_anything_with_contiguous_memory_is_a_buffer(ends, buffer):
    ours, theirs = ends
    ours.send((1,), (buffer,))
    assert plain(theirs.receive()) == ((1,), [bytes(memoryview(buffer).cast("B"))])


@pytest.mark.parametrize("size", [10, 1 << 16, 1 << 20])
def test_received_buffers_can_be_written_to_and_stay_as_they_are(ends, size):
    ours, theirs = ends
    first, second = noise(size, 1), noise(size, 2)
    sender = threading.Thread(target=lambda: [theirs.send((n,), (data,)) for n, data in enumerate((first, second))])
    sender.start()
    one, two = (frame.buffers[0] for frame in read_in(ours, 2))
    sender.join(PATIENCE)
    assert not one.readonly
    one[:] = bytes(size)
    assert bytes(two) == second
    array_of_it = np.frombuffer(two, dtype=np.uint8)
    array_of_it[0] ^= 1
    theirs.send((3,), (first,)) if size < 1 << 17 else None
    assert bytes(two)[1:] == second[1:]


@pytest.mark.parametrize("buffers", [(), (b"",), (b"ab", b"", b"cdef")])
def test_frames_may_be_split_at_any_byte(buffers):
    frames = [((1, "one"), buffers), ((2, "two"), buffers)]
    wire = on_the_wire(*frames)
    expected = [(message, list(buffers)) for message, buffers in frames]
    for at in range(len(wire) + 1):
        with connection() as (ours, theirs):
            found = []
            for part in (wire[:at], wire[at:]):
                theirs.socket.sendall(part)
                found += ours.arrived()[0]
            assert list(map(plain, found)) == expected


def test_frames_may_come_byte_by_byte():
    frames = [((n,), (noise(n, n),)) for n in range(12)]
    with connection() as (ours, theirs):
        found = []
        for byte in on_the_wire(*frames):
            theirs.socket.sendall(bytes([byte]))
            found += ours.arrived()[0]
    assert list(map(plain, found)) == [(message, list(buffers)) for message, buffers in frames]


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(
        st.tuples(MESSAGES, st.lists(st.sampled_from([0, 1, 100, 5000, 70_000, 200_000]), max_size=4)), max_size=6
    ),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
def test_frames_are_the_same_however_the_stream_is_cut(frames, cuts):
    sent = [(message, tuple(noise(size, n) for n, size in enumerate(sizes))) for message, sizes in frames]
    wire = on_the_wire(*sent)
    stops = sorted({0, len(wire), *(int(cut * len(wire)) for cut in cuts)})
    with connection() as (ours, theirs):
        found = []
        for start, stop in itertools.pairwise(stops):
            writer = threading.Thread(target=theirs.socket.sendall, args=(wire[start:stop],))
            writer.start()
            while writer.is_alive():
                found += ours.arrived()[0]
            writer.join()
            for _ in range(20):
                found += ours.arrived()[0]
    assert list(map(plain, found)) == [(message, list(buffers)) for message, buffers in sent]


def test_many_small_frames_are_read_together(ends):
    ours, theirs = ends
    writer = threading.Thread(target=lambda: [theirs.send((number,)) for number in range(500)])
    writer.start()
    assert [frame.message for frame in read_in(ours, 500)] == [(number,) for number in range(500)]
    writer.join(PATIENCE)


@pytest.fixture(params=["poll", "no poll"])
def patient(request, monkeypatch):
    """Both ends, the system having poll or not (Windows)."""
    if request.param == "no poll":
        monkeypatch.delattr("select.poll")
    with connection() as (ours, theirs):
        yield ours, theirs


def test_a_reader_that_stays_awake_gets_all_there_is_and_the_end(patient):
    ours, theirs = patient
    found = []
    answer = threading.Semaphore(0)

    def read():
        while (frame := theirs.receive(soon=True)) is not None:
            found.append(plain(frame))
            answer.release()

    reader = threading.Thread(target=read)
    reader.start()
    frames = [((number,), (noise(size, number),)) for number, size in enumerate([0, 10, 300_000, 5] * 20)]
    for message, buffers in frames:
        ours.send(message, buffers)
        write_out(ours)
        assert answer.acquire(timeout=PATIENCE)  # so that each comes soon after the one before
    ours.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    assert found == [(message, list(buffers)) for message, buffers in frames]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_reader_to_whom_nothing_comes_goes_to_sleep(ends):
    ours, theirs = ends
    began, received = threading.Semaphore(0), threading.Semaphore(0)
    thread = []

    def read():
        thread.append(threading.get_native_id())
        began.release()
        while theirs.receive(soon=True) is not None:
            received.release()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.acquire(timeout=PATIENCE)
    for number in range(100):
        ours.send((number,))
        assert received.acquire(timeout=PATIENCE)
    stat = f"/proc/self/task/{thread[0]}/stat"
    assert eventually(lambda: pathlib.Path(stat).read_text().rpartition(")")[2].split()[0] == "S")
    ours.close()
    reader.join(PATIENCE)


def test_channels_that_are_read_in_turns_do_not_mix():
    pairs = [socket.socketpair() for _ in range(3)]
    ours = [Channel(one, blocking=False) for one, _ in pairs]
    theirs = [Channel(other, blocking=True) for _, other in pairs]
    wires = [on_the_wire(((n,), (noise(1000 + n, n),)), ((n, n), (noise(5, n),))) for n in range(3)]
    found = [[], [], []]
    for at in range(0, 1200, 7):  # in turns, some bytes each
        for number, (channel, wire) in enumerate(zip(theirs, wires, strict=True)):
            channel.socket.sendall(wire[at : at + 7])
            found[number] += ours[number].arrived()[0]
    for number in range(3):
        expected = [((number,), [noise(1000 + number, number)]), ((number, number), [noise(5, number)])]
        assert list(map(plain, found[number])) == expected
    for channel in (*ours, *theirs):
        channel.close()


# --- writing ----------------------------------------------------------------------------------------------------


def test_sending_never_blocks_however_much_nobody_reads(ends):
    ours, theirs = ends
    data = noise(3 << 20)
    for number in range(60):  # more than shared memory takes
        ours.send((number,), (data,))
    assert ours.backlog
    writer = threading.Thread(target=write_out, args=(ours,))
    writer.start()
    for number in range(60):
        assert plain(theirs.receive()) == ((number,), [data])
    writer.join(PATIENCE)
    assert not ours.backlog


def test_a_buffer_that_finds_no_room_leaves_the_others_in_their_places():
    """The first one is too large for the lane, and so the lane is not told of; segments come beside it."""
    with connection() as (ours, theirs):
        segment = memory.Segment.new(5)
        segment[:5] = b"hello"
        small, large = noise(100_000), bytes(lanes.BYTES + 1)
        sent = (large, memoryview(segment), small, memoryview(segment))
        writer = threading.Thread(
            target=lambda: (ours.send((1,), sent), write_out(ours), ours.send((2,), (small,)), write_out(ours))
        )
        writer.start()
        found = theirs.receive().buffers
        assert len(found[0]) == len(large)
        assert [bytes(one[:5]) for one in (found[1], found[3])] == [b"hello"] * 2
        assert found[2] == small
        assert plain(theirs.receive()) == ((2,), [small])
        writer.join(PATIENCE)


@settings(max_examples=300)
@given(st.lists(st.integers(1, 40) | st.none(), max_size=60))
def test_places_that_are_taken_never_overlap(steps):
    """A number takes so many bytes; None gives the oldest place back."""
    ring, taken, given_back = Ring(100), [], 0
    for step in steps:
        if step is not None:
            start = ring.take(step)
            if start is not None:
                assert 0 <= start <= start + step <= 100
                assert all(start + step <= other or stop <= start for other, stop in taken)
                taken.append((start, start + step))
            else:
                assert taken
        elif taken:
            taken.pop(0)
            given_back += 1
            ring.give_back(given_back)
        assert ring.empty == (not taken)


def test_what_is_sent_behind_a_backlog_keeps_its_place(ends):
    ours, theirs = ends
    ours.send((0,), (noise(60_000),) * 20)
    for number in range(1, 600):
        ours.send((number,), (b"%d" % number,))
    writer = threading.Thread(target=write_out, args=(ours,))
    writer.start()
    assert [theirs.receive().message for _ in range(600)] == [(number,) for number in range(600)]
    writer.join(PATIENCE)


def test_there_is_no_backlog_while_the_other_end_reads(ends):
    ours, theirs = ends
    for number in range(100):
        ours.send((number,), (b"x" * 100,))
        assert not ours.backlog
        assert theirs.receive().message == (number,)


def test_frames_from_several_threads_do_not_mix(ends):
    ours, theirs = ends

    def send_some(name):
        for number in range(100):
            theirs.send((name, number), (noise(number * 50, name), noise(3, number)))

    threads = [threading.Thread(target=send_some, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    frames = read_in(ours, 400)
    for thread in threads:
        thread.join(PATIENCE)
    for frame in frames:
        name, number = frame.message
        assert plain(frame)[1] == [noise(number * 50, name), noise(3, number)]
    for name in range(4):  # each in its own order
        assert [frame.message[1] for frame in frames if frame.message[0] == name] == list(range(100))


# --- the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
def test_what_was_written_before_the_end_is_read(size):
    wire = on_the_wire(((1,), (noise(size),)), ((2,), (b"last",)))
    with connection() as (ours, theirs):
        writer = threading.Thread(target=lambda: (theirs.socket.sendall(wire), theirs.close()))
        writer.start()
        found, ended = [], False
        while not ended:
            more, ended = ours.arrived()
            found += more
        writer.join(PATIENCE)
    assert [frame.message for frame in found] == [(1,), (2,)]


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 20, 1000, 300_000])
def test_half_a_frame_at_the_end_is_dropped(kept):
    whole, half = ((1,), (b"abc",)), ((2,), (noise(400_000),))
    wire = on_the_wire(whole) + on_the_wire(half)[:kept]
    with connection() as (ours, theirs):
        writer = threading.Thread(
            target=lambda: (ours.socket.setblocking(True), ours.socket.sendall(wire), ours.close())
        )
        writer.start()
        assert plain(theirs.receive()) == ((1,), [b"abc"])
        assert theirs.receive() is None
        assert theirs.receive() is None
        writer.join(PATIENCE)


def test_sending_to_nobody_is_an_error(ends):
    ours, theirs = ends
    theirs.close()
    with pytest.raises(OSError, match="Broken pipe"):
        ours.send((1,), (b"x",))


def test_nothing_there_is_not_the_end(ends):
    ours, _ = ends
    assert ours.arrived() == ([], False)


def test_a_closed_end_has_no_descriptor_and_no_backlog(ends):
    ours, _ = ends
    ours.send((1,), (noise(5 << 20),))
    ours.close()
    assert ours.fileno() == -1
    assert not ours.backlog


# --- cores ------------------------------------------------------------------------------------------------------


class Cgroups:
    """A made-up /sys/fs/cgroup and /proc/self/cgroup."""

    def __init__(self, folder):
        self.root, self.membership = folder / "cgroup", folder / "self"
        self.root.mkdir()

    def file(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def quota(self, membership="0::/\n"):
        if membership is not None:
            self.membership.write_text(membership)
        return cgroup_quota(self.root, self.membership)


@pytest.fixture
def cgroups(tmp_path):
    return Cgroups(tmp_path)


def test_without_cgroups_there_is_no_quota(cgroups):
    assert cgroups.quota() is None
    assert cgroups.quota("0::/user.slice/some.scope\n") is None


def test_without_a_membership_the_root_still_counts(cgroups):
    assert cgroups.quota(None) is None
    cgroups.file("cpu.max", "150000 100000\n")
    assert cgroups.quota(None) == 1.5


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2.0),
        ("50000 100000", 0.5),
        ("1000 200000\n", 0.005),
        ("", None),
        ("100000", None),
        ("lots of it", None),
        ("100000 0\n", None),
    ],
)
def test_the_quota_of_version_2(cgroups, text, quota):
    cgroups.file("a/cpu.max", text)
    assert cgroups.quota("0::/a\n") == quota


def test_the_tightest_quota_on_the_way_counts(cgroups):
    cgroups.file("a/cpu.max", "300000 100000\n")
    cgroups.file("a/b/cpu.max", "150000 100000\n")
    cgroups.file("a/b/c/cpu.max", "max 100000\n")
    cgroups.file("a/other/cpu.max", "10000 100000\n")
    assert cgroups.quota("0::/a/b/c\n") == 1.5
    assert cgroups.quota("0::/a\n") == 3.0


def test_a_container_that_sees_itself_as_the_root(cgroups):
    cgroups.file("cpu.max", "400000 100000\n")
    assert cgroups.quota("0::/\n") == 4.0
    assert cgroups.quota("0::/system.slice/docker-1f.scope\n") == 4.0


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("250000\n", "100000\n", 2.5), ("-1\n", "100000\n", None), ("0\n", "100000\n", None), ("100000", "0", None)],
)
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu", "cpuset,cpu,cpuacct"])
def test_the_quota_of_version_1(cgroups, quota, period, cores, controllers):
    cgroups.file("cpu/docker/1f/cpu.cfs_quota_us", quota)
    cgroups.file("cpu/docker/1f/cpu.cfs_period_us", period)
    assert cgroups.quota(f"9:memory:/docker/1f\n4:{controllers}:/docker/1f\n1:name=systemd:/docker/1f\n") == cores


def test_a_container_of_version_1_that_sees_itself_as_the_root(cgroups):
    cgroups.file("cpu/cpu.cfs_quota_us", "50000\n")
    cgroups.file("cpu/cpu.cfs_period_us", "100000\n")
    assert cgroups.quota("4:cpu,cpuacct:/docker/1f\n") == 0.5


def test_half_a_pair_of_files_is_no_quota(cgroups):
    cgroups.file("cpu/cpu.cfs_quota_us", "50000\n")
    assert cgroups.quota("4:cpu:/\n") is None


def test_quotas_of_both_versions_count(cgroups):
    cgroups.file("unified/cpu.max", "300000 100000\n")
    cgroups.file("cpu/jobs/cpu.cfs_quota_us", "200000\n")
    cgroups.file("cpu/jobs/cpu.cfs_period_us", "100000\n")
    assert cgroups.quota("4:cpu:/jobs\n0::/unified\n") == 2.0


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n", "0:\n", "0::\n", ":::\n", "0::/a:b/c\n", "4:cpu\n"])
def test_a_membership_of_any_look_does_no_harm(cgroups, text):
    cgroups.file("a:b/cpu.max", "150000 100000\n")
    assert cgroups.quota(text) == (1.5 if "a:b" in text else None)


def test_there_is_at_least_one_core():
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)


def test_cores_that_the_process_is_kept_from_do_not_count():
    source = (
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from manyhands._engine.cpus import cpu_count\n"
        "print(cpu_count())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], env=environment(), capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "1\n"
