"""Files that are there as a whole or not at all, also after the process that writes them was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PATIENCE = 2.0  # seconds for worker processes to end after Ctrl-C
LOOKS = 3  # without anything unfinished, after which there will be no more
LOOK_SECONDS = 0.02  # between two of them
UNKNOWN = "0"  # when a process began
NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}  # as on Lustre mounted without flock, usual in clusters
UNFINISHED = ".manyhands-"  # how the name of a file that is being written begins; then whose it is, then chance


def is_text(name: str) -> bool:
    """It can be written as UTF-8, as names in most files are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class DiskFullError(OSError):
    """No other file could be written either."""


def is_disk_full(error: OSError) -> bool:
    """There is no room for any other file either."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def is_too_long(error: OSError) -> bool:
    """A file would have become longer than this process may write: see ``ulimit -f``."""
    return error.errno == errno.EFBIG


def absolute(path: str | os.PathLike[str]) -> Path:
    """From the root on. Links stay as they are, but for those that are left by ``..``: that is where they lead to."""
    parts = Path(path).absolute().parts
    left = max((place + 1 for place, part in enumerate(parts) if part == ".."), default=0)
    return Path(os.path.realpath(Path(*parts[:left])), *parts[left:]) if left else Path(*parts)


def is_endless(path: Path) -> bool:
    """Whoever reads it may wait for ever: it is a pipe or a device, or a link to one. Raises OSError."""
    mode = path.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_regular(path: Path) -> None:
    """Raise OSError for such a one, and if it is not there."""
    if is_endless(path):
        raise OSError(errno.EINVAL, "it is no regular file: put the right one there, or remove it", str(path))


def make_folder(folder: Path) -> None:
    """With those that it is in: one by one, since ``mkdir`` itself cannot make a thousand within one another."""
    missing = []
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)


def walk(
    top: Path, on_error: Callable[[OSError], object] = lambda _: None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As ``os.walk``, sorted. That of Python 3.11 cannot go into a thousand folders within one another."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                told = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
        except OSError as error:
            on_error(error)
            continue
        inner = [name for name, is_folder, is_link in told if is_folder and not is_link]
        yield folder, inner, [name for name, is_folder, _ in told if not is_folder]
        waiting += [folder / name for name in reversed(inner)]  # those that whoever asked has left in


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead round in a circle
        return False


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write: it is moved to its place at the end of the block; after an error it is removed."""
    with beside(path) as unfinished:
        yield unfinished
        unfinished.replace(path)


def move(unfinished: Path, path: Path) -> None:
    """To its place, where nothing is. Raises FileExistsError if there is something by now."""
    try:
        os.link(unfinished, path)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise
    except OSError:  # some systems of files have no such links
        unfinished.replace(path)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Where to write what is to be moved to its place within the block; what was not is removed."""
    make_folder(path.parent)
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{_begun(os.getpid())}-{secrets.token_hex(8)}.part")
    try:
        yield unfinished
    except OSError as error:
        if error.errno is not None and error.filename in {None, str(unfinished)}:  # None: of writing
            error.filename = str(path)  # the name that somebody knows
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def check_writable(folder: Path) -> None:
    """Raise PermissionError if nothing can be written to it."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "you may not write to this folder: choose another", str(folder))


@contextlib.contextmanager
def kept_tidy(folder: Path, linked: Iterable[Path] = ()) -> Iterator[None]:
    """A folder that is there, and in which nothing unfinished is left, however the block ends.

    ``linked``: folders elsewhere that are written to as well, by links in it.
    """
    make_folder(folder)
    check_writable(folder)
    elsewhere = tuple(linked)
    remove_unfinished(folder, linked=elsewhere)
    try:
        yield
    except BaseException:
        remove_unfinished(folder, PATIENCE, linked=elsewhere)  # of workers that are being ended
        raise
    remove_unfinished(folder, linked=elsewhere)  # of workers of a killed run that were still alive when this one began


def remove_unfinished(folder: Path, patience: float = 0.0, *, linked: Iterable[Path] = ()) -> int:
    """Remove what processes that have ended left in this folder and those below it, and in those ``linked``; how many.

    ``patience``: seconds to wait for those that are about to end, which may leave more until then.
    """
    deadline = time.monotonic() + patience
    removed, quiet = 0, 0 if patience else LOOKS - 1
    while quiet < LOOKS and time.monotonic() <= deadline + LOOK_SECONDS:
        found = list(_unfinished(folder, linked))
        left = [path for path in found if not _is_left_over(path)]
        for path in set(found) - set(left):
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
        quiet = 0 if found and patience else quiet + 1
        if quiet < LOOKS:
            time.sleep(LOOK_SECONDS)
    return removed


def has_unfinished(folder: Path, linked: Iterable[Path] = ()) -> bool:
    """Somebody is writing there, or was ended while doing so."""
    return any(_unfinished(folder, linked))


def _unfinished(folder: Path, linked: Iterable[Path]) -> Iterator[Path]:
    below = (Path(place, name) for place, _, names in walk(folder) for name in names if name.startswith(UNFINISHED))
    yield from (path for path in below if path.match(f"{UNFINISHED}*-*.part"))
    for one in linked:
        yield from one.glob(f"{UNFINISHED}*-*.part")


def _is_left_over(path: Path) -> bool:
    """Whoever was writing it is no more. Numbers of processes come again, in containers the same ones each time."""
    owner, begun, *_ = [*path.name[len(UNFINISHED) :].split("-"), ""]
    if not owner.isdigit():
        return False
    return not _lives(int(owner)) or _begun(int(owner)) not in {begun, UNKNOWN}


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Nobody else has this folder meanwhile, of those who ask; given back also by a process that is killed.

    Raises BlockingIOError if somebody has it and ``wait`` is false. Where there are no such locks, nobody is asked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(fd)


def append_line(path: Path, line: bytes) -> None:
    """Append to a file that several processes append to: a line is one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        written = os.write(fd, line)
        while written < len(line):  # most likely the next one tells why there was no more
            written += os.write(fd, line[written:])
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def _begun(pid: int) -> str:
    """When the process began, which a later one of the same number did not; 0 where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return UNKNOWN


def _lives(pid: int) -> bool:
    """It is there, and has not ended: in some containers nobody asks how processes ended, and they stay listed."""
    if sys.platform == "win32":  # there the signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's, or the system has no /proc
        return True
