"""Memory that processes share: files without a name, so that nothing is left behind, however a program ends.

Behind it is a memory file (Linux), or else an unlinked temporary file. MANYHANDS_SHARED_MEMORY=file leaves out the
first, for tests; with =none big buffers take the socket, as on a machine where neither can be had.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import weakref
from collections.abc import Callable

PAGE = mmap.PAGESIZE
MUCH = 1 << 24  # bytes; for fewer it is not asked whether they are there
BIG_BUFFER = 1 << 16  # bytes; smaller ones travel inside their message. No segment is smaller: so it never does


def anonymous_file(size: int) -> int:
    """A descriptor of a new file of so many bytes, none of which takes memory before it is used. Raises OSError."""
    fd = _open()
    try:
        os.truncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def _open() -> int:
    if _choice() != "file":
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or forbidden
            return os.memfd_create("manyhands", os.MFD_CLOEXEC)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _choice() -> str:
    return os.environ.get("MANYHANDS_SHARED_MEMORY", "memfd")


def check_allowed() -> None:
    """Raise OSError if shared memory is not to be used."""
    if _choice() == "none":
        raise OSError(errno.ENOSYS, "shared memory is switched off by MANYHANDS_SHARED_MEMORY=none: unset that")


def reserve(fd: int, start: int, stop: int) -> None:
    """Have the memory for these bytes. Raises OSError if there is not enough: later it would be SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, start, stop - start)
        return
    for at in range(start, stop, PAGE):  # they may hold something
        os.pwrite(fd, os.pread(fd, 1, at) or b"\0", at)


class Segment(mmap.mmap):
    """A mapped file that can be sent to other processes: it goes by its descriptor, and its bytes stay where they are.

    ``private``: whoever receives it may write, and changes only what it sees itself.
    """

    fd: int
    private: bool

    @classmethod
    def new(cls, size: int) -> Segment:
        """So many zeros, for all who have it. Raises OSError if there is no memory for them."""
        return cls._made(size, lambda fd: reserve(fd, 0, max(1, size)), private=False)

    @classmethod
    def copy_of(cls, content: memoryview) -> Segment:
        """These bytes, once for all, but each who receives them may write and sees its own. Raises OSError."""
        return cls._made(content.nbytes, lambda fd: _write(fd, content), private=True)

    @classmethod
    def _made(cls, size: int, fill: Callable[[int], None], *, private: bool) -> Segment:
        check_allowed()
        _check_available(size)
        size = max(size, BIG_BUFFER)
        fd = anonymous_file(size)
        try:
            fill(fd)
            return cls._of(fd, size, private=private)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def received(cls, fd: int, size: int, *, private: bool) -> Segment:
        """What another process has sent; the descriptor belongs to the segment from here on."""
        try:
            known = None if private else _known.get(_key(fd))
            if known is None:
                return cls._of(fd, size, private=private)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return known

    @classmethod
    def _of(cls, fd: int, size: int, *, private: bool) -> Segment:
        made = cls(fd, size, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)
        made.fd, made.private = fd, private
        weakref.finalize(made, os.close, fd).atexit = False
        if not private:
            _known[_key(fd)] = made
        return made

    def identity(self) -> tuple[int, int]:
        """What tells it from all others while it lives."""
        return _key(self.fd)


def _check_available(size: int) -> None:
    """Raise OSError if there is not so much memory now: the system would go on giving it, and then kill somebody."""
    if size < MUCH:
        return
    left = min(_left_on_machine(), _left_in_container())
    if size > left:
        told = f"{size / 1e9:.3g} GB of shared memory are asked for, and there are {left / 1e9:.3g} GB of memory left"
        raise OSError(errno.ENOMEM, told)


def _left_on_machine() -> float:
    try:
        lines = _read("/proc/meminfo").splitlines()
    except OSError:  # not Linux
        return math.inf
    return int(dict(line.split(":") for line in lines)["MemAvailable"].split()[0]) << 10


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - every worker would have to import pathlib for this
        return file.read()


def _left_in_container() -> float:
    try:
        most = _read("/sys/fs/cgroup/memory.max").strip()
        used = dict(line.split() for line in _read("/sys/fs/cgroup/memory.stat").splitlines())
        return math.inf if most == "max" else int(most) - int(used["anon"]) - int(used["shmem"])
    except (OSError, ValueError, KeyError):
        return math.inf


def _write(fd: int, content: memoryview) -> None:
    at = 0
    while at < content.nbytes:  # the system takes 2 GB at most
        at += os.pwrite(fd, content[at:], at)


_known: weakref.WeakValueDictionary[tuple[int, int], Segment] = weakref.WeakValueDictionary()


def _key(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def segment_of(buffer: memoryview) -> Segment | None:
    """The segment that this is a view of, if it is one."""
    owner = buffer.obj
    return owner if isinstance(owner, Segment) else None
