"""Runs without end: a stream as input, a reader that leaves, Ctrl-C."""

import json
import os
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


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
def test_a_stream_without_end_is_worked_off_until_its_reader_has_enough(folder, backend):
    command = f"yes | {COMMAND} run tasks:double --lines - --backend {backend} | head -n 3; echo ${{PIPESTATUS[1]}} >&2"
    ran = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert [json.loads(line)["result"] for line in ran.stdout.splitlines()] == ["yy"] * 3
    assert ran.stderr == "141\n"


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
def test_a_result_comes_out_before_the_next_input_comes_in(started, backend):
    process = started("run", "tasks:double", "--lines", "-", "--backend", backend)
    for item in (b"a", b"b", b"c"):
        process.stdin.write(item + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"] == 2 * item.decode()
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert said.startswith(b"3 done in ")


@pytest.mark.parametrize("backend", ["auto", "serial", "threads", "processes"])
def test_the_command_ends_when_its_reader_leaves_though_its_input_is_still_open(started, backend):
    process = started("run", "tasks:double", "--lines", "-", "--backend", backend)
    process.stdin.write(b"a\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(b"b\n")
    process.stdin.flush()
    assert process.wait(PATIENCE) == 141
    assert process.stderr.read() == b""


BLOCKED = """
import os, threading

def block(item):
    descriptor = os.open("meeting", os.O_WRONLY)
    os.write(descriptor, f"{os.getpid()} ".encode())
    threading.Event().wait()
"""


@pytest.mark.parametrize("backend", ["auto", "serial", "processes"])
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


def test_ctrl_c_while_waiting_for_input_ends_with_one_line(started):
    process = started("run", "tasks:double", "--lines", "-")
    process.stdin.write(b"a\n")
    process.stdin.flush()
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert process.stderr.read().decode().startswith("1 done in ")


def test_what_was_done_before_ctrl_c_is_in_the_file(started, folder, meeting):
    (folder / "mostly.py").write_text(
        "import blocked\ndef f(item): return blocked.block(item) if item == 3 else item\n"
    )
    (folder / "blocked.py").write_text(BLOCKED)
    process = started("run", "mostly:f", "--range", "0:4", "--out", "done", "--plain", "--backend", "serial")
    said_on(meeting)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert (folder / "done").read_text() == "0\n1\n2\n"


def test_ctrl_c_while_the_users_module_is_imported_ends_with_one_line(started, folder, meeting):
    (folder / "slow.py").write_text(BLOCKED + "\nblock(0)\n")
    process = started("run", "slow:block", "a")
    said_on(meeting)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert process.stderr.read() == b"manyhands: interrupted\n"
