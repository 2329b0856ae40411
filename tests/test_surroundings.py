"""Start-up and surroundings: whatever the caller has done before, wherever its program came from, maps work."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import subprocess
import sys
import threading
import zipfile

import programs
import psutil
import pytest

import manyhands as mh

pytestmark = [pytest.mark.timeout(60), pytest.mark.others_are_stress("spawn")]

METHODS = ("zygote", "spawn", "fork")


# --- what the caller has started --------------------------------------------------------------------------------


@pytest.fixture
def busy_module(tmp_path, monkeypatch):
    """An importable module whose lock another thread of the caller holds all the time."""
    (tmp_path / "module_with_lock.py").write_text("import threading\nlock = threading.Lock()\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("module_with_lock")
    held, go_on = threading.Event(), threading.Event()

    def hold():
        with module.lock:
            held.set()
            go_on.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    yield module
    go_on.set()
    thread.join()
    del sys.modules["module_with_lock"]


@pytest.mark.parametrize("start_method", ["zygote", "spawn"])
def test_lock_that_a_thread_of_the_caller_holds_is_free_in_workers(busy_module, start_method):
    """Row 44."""

    def task(n):
        from module_with_lock import lock

        assert lock.acquire(timeout=10)
        lock.release()
        return n

    assert mh.map(task, range(4), workers=2, backend="processes", start_method=start_method) == [0, 1, 2, 3]


def test_worker_of_a_zygote_is_no_child_of_the_caller():
    """Row 44."""
    parents = mh.map(lambda _: os.getppid(), range(4), workers=2, backend="processes", start_method="zygote")
    assert os.getpid() not in parents
    assert {psutil.Process(pid).ppid() for pid in parents} == {os.getpid()}  # they are its grandchildren


def test_spawned_worker_has_nothing_of_the_callers_memory():
    """Row 44."""
    programs.left_behind = True
    try:
        ask = lambda _: "programs" in sys.modules  # noqa: E731
        assert not any(mh.map(ask, range(2), workers=2, backend="processes", start_method="spawn"))
        assert not any(mh.map(ask, range(2), workers=2, backend="processes", start_method="zygote"))
    finally:
        del programs.left_behind


NUMERICAL = """
    import threading
    import manyhands as mh
    import numpy as np

    a = np.random.default_rng(0).random((250, 250))

    def product(n):
        return float((a @ a)[n, n])

    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            a @ a

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    expected = [product(n) for n in range(4)]

    def check(method):
        found = mh.map(product, range(4), workers=2, backend="processes", start_method=method)
        assert np.allclose(found, expected), method

    check("zygote")
    check("spawn")
    stop.set()  # OpenBLAS lets no process fork while threads use it without a pause
    for thread in threads:
        thread.join()
    check("fork")
    print("fine")
"""

PICTURES = """
    import threading
    import cv2
    import manyhands as mh
    import numpy as np

    image = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)

    def blur(n):
        return int(cv2.GaussianBlur(cv2.resize(image, (300, 300)), (9, 9), 0).sum())

    cv2.setNumThreads(4)
    expected = [blur(n) for n in range(4)]
    for method in ("zygote", "spawn"):
        assert mh.map(blur, range(4), workers=2, backend="processes", start_method=method) == expected, method
    print("fine")
"""


def test_numerical_threads_started_before_do_no_harm(tmp_path):
    """Row 44."""
    pytest.importorskip("numpy")
    assert programs.run_source(NUMERICAL, cwd=tmp_path).stdout == "fine\n"


@pytest.mark.stress
@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="needs OpenCV")
def test_image_threads_started_before_do_no_harm(tmp_path):
    """Row 44."""
    assert programs.run_source(PICTURES, cwd=tmp_path).stdout == "fine\n"


# --- where the program comes from -------------------------------------------------------------------------------

# Without a main guard, and so that it can be typed at a prompt: an empty line after each block, none inside.
PROGRAM = """\
import manyhands as mh
class Point:
    def __init__(self, x):
        self.x = x
    def twice(self):
        return Point(2 * self.x)

def make():
    class Scale:
        factor = 3
        def apply(self, x):
            return x * self.factor
    return Scale()

scale = make()
def more(x):
    return x + 1

def work(x):
    return more(scale.apply(x))

for method in ("zygote", "spawn", "fork"):
    how = {"workers": 2, "backend": "processes", "start_method": method}
    assert mh.map(work, range(5), **how) == [1, 4, 7, 10, 13], method
    assert mh.map(lambda x: scale.apply(x), range(3), **how) == [0, 3, 6], method
    twice, points = Point.twice, mh.map(Point.twice, [Point(1), Point(2)], **how)
    assert [p.x for p in points] == [2, 4], method
    assert {type(p) for p in points} == {Point}, method
    assert Point.twice is twice, method
    print("fine with", method)

"""


def as_file(folder):
    return [programs.write(folder / "program.py", PROGRAM)], None


def as_module(folder):
    (folder / "package").mkdir()
    programs.write(folder / "package" / "program.py", PROGRAM)
    return ["-m", "package.program"], None


def as_zip(folder):
    with zipfile.ZipFile(folder / "app.pyz", "w") as file:
        file.writestr("__main__.py", PROGRAM)
    return [folder / "app.pyz"], None


def as_command(folder):
    return ["-c", PROGRAM], None


def as_input(folder):
    return ["-"], PROGRAM


def as_prompt(folder):
    return ["-i", "-q"], PROGRAM


def as_notebook(folder):
    """Cells that are compiled one by one and run in ``__main__``, whose source is in no file."""
    cells = PROGRAM.split("\n\n")
    source = f"""
        import __main__
        for number, cell in enumerate({cells!r}):
            exec(compile(cell + chr(10), f"<cell {{number}}>", "exec"), vars(__main__))
    """
    return [programs.write(folder / "notebook.py", source)], None


FORMS = [as_file, as_module, as_zip, as_command, as_input, as_prompt, as_notebook]


@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
def test_program_without_main_guard_works_in_every_form(tmp_path, form):
    """Row 45."""
    args, given = form(tmp_path)
    options = {"input": given} if given is not None else {}
    ended = programs.run(*args, cwd=tmp_path, **options)
    assert ended.stdout.split("\n")[:3] == [f"fine with {method}" for method in METHODS], ended.stderr


# --- after a fork -----------------------------------------------------------------------------------------------

FORKED = """
    import gc, os, sys
    import manyhands as mh
    from manyhands.errors import ExecutorClosed

    options = {options!r}
    executor = mh.Executor(2, **options)
    assert executor.submit(abs, -1).result() == 1
    assert mh.map(abs, [-2], workers=2, **options) == [2]
    pid = os.fork()
    if pid == 0:
        try:
            executor.submit(abs, -3)
        except ExecutorClosed as error:
            assert "forked" in str(error)
        else:
            raise AssertionError("the parent's executor took a call of the child's")
        executor.shutdown()
        del executor
        gc.collect()
        assert mh.map(abs, [-4], workers=2, **options) == [4]
        with mh.Executor(2, **options) as fresh:
            assert fresh.submit(abs, -5).result() == 5
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert executor.submit(abs, -6).result() == 6
    assert mh.map(abs, [-7], workers=2, **options) == [7]
    executor.shutdown()
    print("fine")
"""


def test_forked_child_has_workers_of_its_own_and_spares_its_parents(tmp_path, any_backend):
    """Row 46."""
    source = FORKED.replace("{options!r}", repr(any_backend))
    assert programs.run_source(source, cwd=tmp_path).stdout == "fine\n"


FORKED_AMID_A_START = """
import os, signal, subprocess, threading
import manyhands as mh
import manyhands._engine.forks  # of hooks, the last that was registered runs first

begun, forks, start = threading.Event(), threading.Event(), subprocess._fork_exec
os.register_at_fork(before=forks.set)

def start_slowly(*args):
    begun.set()
    assert forks.wait(10)
    threading.Event().wait(0.2)  # in which it is over, if nothing holds it off
    return start(*args)

subprocess._fork_exec = start_slowly
future = mh.submit(abs, -1)
assert begun.wait(10)
if not (child := os.fork()):
    signal.pause()
try:
    print(future.result(timeout=20))
finally:
    os.kill(child, signal.SIGKILL)
"""


def test_a_child_forked_while_a_process_is_started_does_not_hold_that_up(tmp_path):
    """Row 46: it may live for long, and has what is open at that moment."""
    assert programs.run_source(FORKED_AMID_A_START, cwd=tmp_path).stdout == "1\n"


# --- standard input, output and error ---------------------------------------------------------------------------


def test_task_that_reads_standard_input_sees_its_end(process_backend):
    """Row 47."""

    def read(how):
        if how == "input":
            try:
                return input("? ")
            except EOFError:
                return "end"
        if how == "os":
            return os.read(0, 10)
        if how == "child":
            return subprocess.run(["cat"], capture_output=True, check=True, timeout=20).stdout
        return sys.stdin.read()

    found = mh.map(read, ["input", "sys", "os", "child", "sys"], workers=2, **process_backend)
    assert found == ["end", "", b"", b"", ""]


def test_tasks_leave_the_callers_standard_input_alone(tmp_path):
    """Row 47."""
    source = """
        import sys
        import manyhands as mh
        for method in ("zygote", "spawn", "fork"):
            read = mh.map(lambda _: sys.stdin.read(), range(2), workers=2, backend="processes", start_method=method)
            assert read == ["", ""]
        print(sys.stdin.read())
    """
    program = programs.write(tmp_path / "program.py", source)
    assert programs.run(program, cwd=tmp_path, input="precious").stdout == "precious\n"


STARVED = """
    import os, resource
    import manyhands as mh
    from manyhands.errors import WorkersUnavailable

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    found = set()
    before = len(os.listdir("/proc/self/fd"))
    for free in (0, 1, 3, 5, 8, 11, 14, 17, 24):
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            for fd in taken[len(taken) - free:]:
                os.close(fd)
            del taken[len(taken) - free:]
        try:
            with mh.Executor(2, backend="processes", start_method={method!r}) as executor:
                assert list(executor.map(abs, [-1, -2])) == [1, 2]
            found.add("works")
        except (WorkersUnavailable, OSError) as error:
            assert "open files" in str(error), error
            found.add("is told")
        for fd in taken:
            os.close(fd)
        assert mh.map(abs, [-1], workers=1, backend="processes", start_method={method!r}) == [1]
    assert found == {"works", "is told"}, found
    print("fine")
"""


def test_call_without_descriptors_works_or_says_so(tmp_path, start_method):
    """Row 48: with any number of descriptors left, from none to enough; and afterwards all is well."""
    ended = programs.run_source(STARVED.replace("{method!r}", repr(start_method)), cwd=tmp_path)
    assert ended.stdout == "fine\n"


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_three_hundred_workers(start_method):
    """Row 48."""
    pids = mh.map(lambda n: os.getpid(), range(3000), workers=300, backend="processes", start_method=start_method)
    assert len(pids) == 3000
    assert 1 < len(set(pids)) <= 300


NOISY = """
    import os, subprocess, sys
    import manyhands as mh

    def task(n):
        print("said", n)
        print("complained", n, file=sys.stderr)
        os.write(1, b"written below\\n")
        subprocess.run(["echo", "by a child"], check=False)
        return n + 1

    try:
        for method in ("zygote", "spawn", "fork"):
            found = mh.map(task, range(3), workers=2, backend="processes", start_method=method, progress=True)
            assert found == [1, 2, 3], found
        assert mh.map(abs, range(3), workers=2, backend="threads", progress=True) == [0, 1, 2]
        ended = "fine"
    except BaseException as error:
        ended = repr(error)
    with open("ended", "w") as file:
        file.write(ended)
"""


@pytest.mark.parametrize(
    "redirections",
    [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"],
)
def test_program_with_closed_or_redirected_files_works(tmp_path, redirections):
    """Row 49."""
    program = programs.write(tmp_path / "program.py", NOISY)
    command = f"exec '{sys.executable}' '{program}' {redirections}"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=programs.environment(), timeout=40, check=False)
    assert (tmp_path / "ended").read_text() == "fine"


def test_program_without_standard_streams_works(tmp_path):
    """Row 49: as under pythonw."""
    programs.run_source("import sys\nsys.stdin = sys.stdout = sys.stderr = None\n" + dedented(NOISY), cwd=tmp_path)
    assert (tmp_path / "ended").read_text() == "fine"


def dedented(source):
    import textwrap

    return textwrap.dedent(source)


def test_redirected_output_of_the_caller_takes_in_what_workers_print(process_backend):
    """Row 49."""

    def task(n):
        print("said", n)
        print("complained", n, file=sys.stderr)

    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        mh.map(task, range(3), workers=2, **process_backend)
    assert sorted(said.getvalue().splitlines()) == ["said 0", "said 1", "said 2"]
    assert sorted(complained.getvalue().splitlines()) == ["complained 0", "complained 1", "complained 2"]


# --- where the program is ---------------------------------------------------------------------------------------

ANYWHERE = """
    import os
    import manyhands as mh

    def task(n):
        return n + 1

    for method in ("zygote", "spawn", "fork"):
        assert mh.map(task, range(3), workers=2, backend="processes", start_method=method) == [1, 2, 3], method
    print("fine")
"""


def test_folder_that_nobody_can_write_to(tmp_path):
    """Row 50: in /proc not even root can make a file."""
    program = programs.write(tmp_path / "program.py", ANYWHERE)
    environment = programs.environment(TMPDIR="/proc", HOME="/proc")
    assert programs.run(program, cwd="/proc", env=environment).stdout == "fine\n"


@pytest.mark.parametrize("when", ["before", "after"])
def test_folder_that_was_deleted(tmp_path, when):
    """Row 50: before Python started, or since."""
    program = programs.write(tmp_path / "program.py", ANYWHERE)
    gone = tmp_path / "gone"
    gone.mkdir()
    leave = "import os, sys; os.rmdir(os.getcwd())\n" if when == "after" else ""
    program.write_text(leave + program.read_text())
    remove = f"rmdir '{gone}';" if when == "before" else ""
    ended = subprocess.run(
        ["sh", "-c", f"cd '{gone}'; {remove} exec '{sys.executable}' '{program}'"],
        env=programs.environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert ended.stdout == "fine\n", ended.stderr


FOREIGN = """
    import os, sys
    import manyhands as mh

    assert sys.getfilesystemencoding() != "utf-8" or {utf8!r} != "0"
    name = os.fsdecode(b"caf\\xe9-\\xc3\\xa9")
    os.environ["FOREIGN"] = name
    os.mkdir(name)
    os.chdir(name)
    sys.path.append(os.getcwd())

    def task(path):
        print(ascii("caf\\u00e9"), "caf\\u00e9")
        assert os.path.isdir(path), path
        assert os.environ["FOREIGN"] == os.path.basename(os.getcwd())
        return os.getcwd(), "\\u4e2d\\u6587"

    for method in ("zygote", "spawn", "fork"):
        found = mh.map(task, [os.getcwd()] * 3, workers=2, backend="processes", start_method=method)
        assert found == [(os.getcwd(), "\\u4e2d\\u6587")] * 3, ascii(found)
    print("fine")
"""


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_names_and_words_that_are_not_in_the_locales_encoding(tmp_path, utf8):
    """Row 50."""
    environment = programs.environment(LC_ALL="C", LANG="C", PYTHONUTF8=utf8, PYTHONCOERCECLOCALE="0")
    environment.pop("PYTHONIOENCODING", None)
    source = FOREIGN.replace("{utf8!r}", repr(utf8))
    ended = programs.run_source(source, cwd=tmp_path, env=environment, errors="replace")
    assert ended.stdout.splitlines()[-1] == "fine"
    assert ended.stdout.count("'caf\\xe9'") == 9


def what_is_set(_):
    return sys.argv, sys.getrecursionlimit()


@pytest.mark.parametrize("start_method", ["zygote", "spawn"])
def test_arguments_of_the_program_and_its_recursion_limit_are_seen_in_workers(start_method, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program.py", "--size", "3"])
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 321)
    try:
        found = mh.map(what_is_set, range(4), backend="processes", start_method=start_method, workers=2)
    finally:
        sys.setrecursionlimit(before)
    assert found == [(["program.py", "--size", "3"], before + 321)] * 4
