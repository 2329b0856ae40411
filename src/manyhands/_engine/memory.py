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

PAGE = mmap.PAGESIZE
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
    def new(cls, size: int, *, private: bool = False) -> Segment:
        """Zeros, at least one byte of them. Raises OSError if there is no memory for them."""
        check_allowed()
        fd = anonymous_file(size)
        try:
            reserve(fd, 0, size)
            return cls._of(fd, size, private=private, access=mmap.ACCESS_WRITE)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def received(cls, fd: int, size: int, *, private: bool) -> Segment:
        """What another process has sent; the descriptor belongs to the segment from here on."""
        key = _key(fd)
        known = None if private else _known.get(key)
        if known is not None:
            os.close(fd)
            return known
        try:
            return cls._of(fd, size, private=private, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def _of(cls, fd: int, size: int, *, private: bool, access: int) -> Segment:
        made = cls(fd, size, access=access)
        made.fd, made.private = fd, private
        weakref.finalize(made, os.close, fd).atexit = False
        if not private:
            _known[_key(fd)] = made
        return made


_known: weakref.WeakValueDictionary[tuple[int, int], Segment] = weakref.WeakValueDictionary()


def _key(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def segment_of(buffer: memoryview) -> Segment | None:
    """The segment that this is a view of, if it is one."""
    owner = buffer.obj
    return owner if isinstance(owner, Segment) else None
