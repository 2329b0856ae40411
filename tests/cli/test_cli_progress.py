"""What people and programs are told about a run: progress, summary, report, and the dry run."""

import json
import os
import pty
import subprocess
import sys
import termios

import pytest

import manyhands as mh
from manyhands.cli.reporting import Throttled, plain_progress

PATIENCE = 60


def progress(**facts):
    usual = {
        "desc": "f",
        "done": 0,
        "total": None,
        "failed": 0,
        "elapsed": 0.0,
        "rate": 0.0,
        "remaining": None,
    }
    return mh.Progress(**(usual | facts))


def test_progress_for_people_leaves_out_what_is_not_known():
    assert plain_progress(progress(done=3, rate=1.5)) == "3 items, 1.5/s"
    everything = progress(done=120, total=1000, failed=2, rate=35.1, remaining=25.07)
    assert plain_progress(everything) == "120/1000 items, 2 failed, 35.1/s, 25.1 s left"


def test_lines_of_progress_keep_their_distance(capsys):
    show = Throttled(lambda progress: f"at {progress.elapsed}", seconds=2)
    for elapsed in (0.5, 2.5, 3.0, 4.0, 5.0, 6.0):
        show(progress(elapsed=elapsed))
    assert capsys.readouterr().err == "at 2.5\nat 5.0\n"


WAITS = """
import os

def f(item):
    if item == 1:
        os.read(os.open("meeting", os.O_RDONLY), 1)
    return item
"""


@pytest.mark.parametrize(
    ("kind", "reads"),
    [
        ("plain", lambda line: b"/2 items" in line),
        ("json", lambda line: json.loads(line)["event"] == "progress"),
    ],
)
def test_progress_is_told_while_a_task_is_running(started, folder, meeting, kind, reads):
    (folder / "waits.py").write_text(WAITS)
    process = started("run", "waits:f", "--range", "0:2", "--progress", kind, "--backend", "processes")
    assert reads(process.stderr.readline())
    os.write(meeting, b"x")
    assert process.wait(PATIENCE) == 0


def test_progress_for_programs_ends_with_a_summary_for_programs(manyhands):
    ran = manyhands("run", "tasks:refuse_b", "a", "b", "--progress", "json")
    summary = json.loads(ran.err.splitlines()[-1])
    assert summary.pop("elapsed") >= 0
    assert summary == {"event": "summary", "done": 2, "failed": 1, "ending": "complete"}


def test_without_progress_there_is_still_a_summary(manyhands):
    ran = manyhands("run", "tasks:double", "a", "--progress", "none")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("1 done in ")


def on_a_terminal(folder, *arguments, **options):
    """Run the command with stderr on a terminal, and return what was shown there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-m", "manyhands", *arguments]
    options = {"cwd": folder, "stdin": subprocess.DEVNULL, "stderr": theirs, "timeout": PATIENCE} | options
    subprocess.run(command, check=False, **options)
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 10_000):
            shown += more
    except OSError:  # how a terminal says that the other side is closed
        pass
    os.close(ours)
    return shown.decode()


LASTING = "import time\ndef f(item): time.sleep(0.4)\n"


def test_on_a_terminal_there_is_a_bar_for_work_that_lasts(folder):
    (folder / "lasting.py").write_text(LASTING)
    shown = on_a_terminal(folder, "run", "lasting:f", "--range", "0:8", "-j", "2", stdout=subprocess.DEVNULL)
    assert "/8" in shown
    assert "8 done in " in shown


def test_on_a_terminal_there_is_a_bar_for_work_of_unknown_length(folder):
    """A bar without a total is drawn as often as any other."""
    source = """
import time
import manyhands as mh
mh.map(lambda n: time.sleep(0.2), (n for n in range(10)), workers=2, backend="threads", progress=True, desc="some")
"""
    (folder / "program.py").write_text(source)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "program.py"], cwd=folder, stderr=theirs, timeout=PATIENCE, check=False
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert ran.returncode == 0
    assert "some: 10 tasks" in shown
    assert "could not be drawn" not in shown


def test_a_report_is_printed_on_demand(manyhands):
    plain = manyhands("run", "tasks:double", "--range", "0:9")
    with_report = manyhands("run", "tasks:double", "--range", "0:9", "--report")
    assert plain.out == with_report.out
    assert len(plain.err.splitlines()) == 1
    assert len(with_report.err.splitlines()) > 1


def test_an_explanation_is_printed_on_demand(manyhands):
    ran = manyhands("run", "tasks:double", "--range", "0:9", "-j", "2", "--explain")
    why = "an item that fails, or ends its process, is not to end the others"
    told = ran.err.splitlines()[1]  # and advice may follow, if the machine is slow
    assert told == f"All 9 tasks ran on 2 worker processes, since {why}."
    ran = manyhands("run", "tasks:double", "--range", "0:9", "--backend", "serial", "--explain")
    assert "All 9 tasks ran in this program, since --backend serial was asked for." in ran.err


def test_a_dry_run_says_what_would_run_and_runs_nothing(manyhands, folder):
    (folder / "refuses.py").write_text("def f(item): open('ran', 'w')\n")
    ran = manyhands(
        "run", "refuses.py:f", "--range", "0:100", "-j", "3", "--timeout", "5m", "--retries", "2",
        "--out", "done.jsonl", "--dry-run",
    )  # fmt: skip
    assert ran.code == 0
    for said in ("refuses.py:f", "--range 0:100", "100", "0, 1, 2, ...", "3, backend auto", "timeout 5 min"):
        assert said in ran.out
    assert ran.out.endswith("Nothing was run.\n")
    assert sorted(path.name for path in folder.glob("[!_]*")) == ["refuses.py", "tasks.py"]


def test_a_dry_run_reads_no_stream(manyhands):
    ran = manyhands("run", "tasks:double", "--lines", "-", "--dry-run", stdin=None)
    assert "not known before they are read" in ran.out


def test_a_dry_run_finds_what_is_wrong(manyhands, folder):
    (folder / "bad.jsonl").write_text("1\n{\n")
    assert manyhands("run", "tasks:nope", "a", "--dry-run").code == 2
    assert "line 2: not JSON" in manyhands("run", "tasks:double", "--jsonl", "bad.jsonl", "--dry-run").complaint
