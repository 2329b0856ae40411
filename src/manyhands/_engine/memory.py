"""Memory that processes share: files without a name, so that nothing is left behind, however a program ends.

Behind it is a memory file (Linux), or else an unlinked temporary file. MANYHANDS_SHARED_MEMORY=file leaves out the
first, for tests; with =none big buffers take the socket, as on a machine where neither can be had.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import weakref
from collections.abc import Callable
from pathlib import Path

PAGE = mmap.PAGESIZE
BIG_BUFFER = 1 << 16  # bytes; smaller ones travel inside their message. No segment is smaller
_choice = os.environ.get("MANYHANDS_SHARED_MEMORY", "memfd")


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
    if _choice != "file":
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or forbidden
            return os.memfd_create("manyhands", os.MFD_CLOEXEC)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def check_allowed() -> None:
    """Raise OSError if shared memory is not to be used."""
    if _choice == "none":
        raise OSError(errno.ENOSYS, "shared memory is switched off (MANYHANDS_SHARED_MEMORY=none)")


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
            return cls._of(fd, size, private=private, access=mmap.ACCESS_WRITE)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def received(cls, fd: int, size: int, *, private: bool) -> Segment:
        """What another process has sent; the descriptor belongs to the segment from here on."""
        try:
            known = None if private else _known.get(_key(fd))
            if known is None:
                return cls._of(fd, size, private=private, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return known

    @classmethod
    def _of(cls, fd: int, size: int, *, private: bool, access: int) -> Segment:
        made = cls(fd, size, access=access)
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
    with contextlib.suppress(FileNotFoundError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        table = dict(line.split(":") for line in lines)
        there = int(table["MemAvailable"].split()[0]) << 10
        if size > there:
            told = f"there are {there / 1e9:.3g} GB of memory left, and {size / 1e9:.3g} GB are asked for"
            raise OSError(errno.ENOMEM, told)


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
