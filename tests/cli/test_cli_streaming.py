"""Runs without end: a stream as input, a reader that leaves, Ctrl-C."""

import json
import os
import re
import select
import signal
import subprocess
import sys

import pytest

COMMAND = f"{sys.executable} -m manyhands"
PATIENCE = 60


def said_on(descriptor):
    """What a task says on the meeting pipe, once it does."""
    assert select.select([descriptor], [], [], PATIENCE)[0]
    return os.read(descriptor, 1000).decode()


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_stream_without_end_is_worked_off_until_its_reader_has_enough(folder, backend):
    run = f"{COMMAND} run tasks:double --lines - --backend {backend}"
    command = f"yes | {run} | head -n 3; echo ${{PIPESTATUS[1]}} >&2"
    ran = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert [json.loads(line)["result"] for line in ran.stdout.splitlines()] == ["yy"] * 3
    assert ran.stderr == "141\n"


def test_a_result_comes_out_before_the_next_input_comes_in(started):
    process = started("run", "tasks:double", "--lines", "-")
    process.stdin.write(b"a\n")
    process.stdin.flush()
    assert select.select([process.stdout], [], [], PATIENCE)[0]


BLOCKED = """
import os, threading

def block(item):
    descriptor = os.open("meeting", os.O_WRONLY)
    os.write(descriptor, f"{os.getpid()} ".encode())
    threading.Event().wait()
"""

PASSING = """
import os

def say(item):
    os.write(os.open("meeting", os.O_WRONLY), b"here")
"""


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_ctrl_c_during_a_task_ends_with_one_line_and_nothing_left_behind(started, folder, meeting, backend):
    (folder / "blocked.py").write_text(BLOCKED)
    process = started("run", "blocked:block", "a", "b", "c", "--backend", backend)
    worker = int(said_on(meeting).split()[0])
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert out == b""
    assert said.decode().startswith("0 done in ")
    assert said.decode().endswith("; interrupted\n")
    assert said.count(b"\n") == 1
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_ctrl_c_while_waiting_for_input_ends_with_one_line(started, folder, meeting):
    (folder / "passing.py").write_text(PASSING)
    process = started("run", "passing:say", "--lines", "-")
    process.stdin.write(b"a\n")
    process.stdin.flush()
    said_on(meeting)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert re.fullmatch(r"\d done in .* s; interrupted\n", process.stderr.read().decode())


def test_results_are_in_the_file_as_soon_as_they_are_there(started, folder):
    (folder / "blocked.py").write_text(BLOCKED)
    (folder / "mostly.py").write_text(
        "import blocked\ndef f(item): return blocked.block(item) if item == 3 else item\n"
    )
    os.mkfifo(folder / "meeting")
    os.mkfifo(folder / "done")
    started("run", "mostly:f", "--range", "0:4", "--out", "done", "--plain", "--chunksize", "1")
    with (folder / "done").open() as done:
        assert [done.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]


def test_ctrl_c_while_the_users_module_is_imported_ends_with_one_line(started, folder, meeting):
    (folder / "slow.py").write_text(BLOCKED + "\nblock(0)\n")
    process = started("run", "slow:block", "a")
    said_on(meeting)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert process.stderr.read() == b"manyhands: interrupted\n"
