"""The command as a user runs it: in a process of its own, and in a folder with a module of tasks."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from manyhands.cli import main

COMMAND = (sys.executable, "-m", "manyhands")
PATIENCE = 60

TASKS = '''
import os
import subprocess
import sys

LIMIT = 3


def double(item):
    """Works for text and for numbers."""
    return item * 2


def add(a, b):
    return int(a) + int(b)


def refuse_b(item):
    if item == "b":
        raise ValueError("no b, please")
    return item


def chatter(item):
    print("printed", item)
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"], check=True)
    return item


def unusual(item):
    return {"complex": 1j, "none": None, "nan": float("nan"), "tuple": (1, 2), "text": "two\\nlines"}[item]


def name_of_module(item):
    return __name__


def fails_once_per(marker):
    """Fails until the marker is there, and leaves it."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        raise RuntimeError("the first attempt")
    return "made it"


def never_ends(item):
    import threading

    threading.Event().wait()


class Tools:
    @staticmethod
    def shout(item):
        return item.upper()


class Mine(Exception):
    pass


def raise_mine(item):
    raise Mine(f"about {item}")


async def later(item):
    return item
'''


@dataclass(frozen=True)
class Ran:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def records(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def results(self):
        return [record["result"] for record in self.records]

    @property
    def complaint(self):
        """The last line for people; there must be no traceback above it."""
        assert "Traceback" not in self.err
        return self.err.splitlines()[-1]


@pytest.fixture
def folder(tmp_path):
    """The working folder of the commands; tasks.py is in it."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.fixture
def manyhands(folder):
    """Run the command in the folder to its end."""

    def run(*arguments, stdin=b"", **options):
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        command = [*COMMAND, *map(str, arguments)]
        options = {"cwd": folder, "capture_output": True, "timeout": PATIENCE} | options
        done = subprocess.run(command, input=stdin, check=False, **options)
        return Ran(done.returncode, done.stdout.decode() if done.stdout else "", done.stderr.decode())

    return run


@pytest.fixture
def refused(folder, monkeypatch, capfd):
    """Have the command refuse its arguments: in this process, as no work is begun."""

    def run(*arguments):
        before = set(sys.modules)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.chdir(folder)
        code = main([str(argument) for argument in arguments])
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
        ran = Ran(code, *capfd.readouterr())
        assert (ran.code, ran.out) == (2, "")
        return ran

    return run


@pytest.fixture
def started(folder):
    """Start the command in the folder, in a process group of its own, and go on."""
    running = []

    def start(*arguments, **options):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*COMMAND, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=folder, start_new_session=True, **(pipes | options))
        running.append(process)
        return process

    yield start
    for process in running:
        with process:
            process.kill()


@pytest.fixture
def meeting(folder):
    """A named pipe on which a task can say that it has begun."""
    path = folder / "meeting"
    os.mkfifo(path)
    # Opened for both directions: neither side waits for the other to open it.
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)
