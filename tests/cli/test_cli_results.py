"""What comes out: records, plain results, files, exit codes; and what does not get between them."""

import itertools
import json
import os
import re
import resource

import pytest
from typer.main import get_command

import manyhands as mh
from manyhands.cli.app import app, execute


def test_results_are_records_in_the_order_of_the_inputs(manyhands):
    ran = manyhands("run", "tasks:double", "--range", "0:200", "--chunksize", "3", "-j", "2")
    assert ran.records == [{"index": i, "input": i, "ok": True, "result": 2 * i} for i in range(200)]
    assert ran.code == 0
    assert ran.err.startswith("200 done in ")


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_a_failure_is_a_record_and_the_others_go_on(manyhands, backend):
    ran = manyhands("run", "tasks:refuse_b", "a", "b", "c", "--backend", backend)
    assert ran.code == 1
    assert [record["ok"] for record in ran.records] == [True, False, True]
    error = ran.records[1]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "no b, please")
    assert "refuse_b" in error["traceback"]
    first, last = ran.err.splitlines()
    assert first == "first failure: item 1 ('b') failed: ValueError: no b, please"
    assert last.startswith("3 done, 1 of them failed, in ")


def test_inputs_that_do_not_fit_the_parameters_bring_a_hint(manyhands, folder):
    (folder / "two.py").write_text("def add(a, b): return a + b\n")
    ran = manyhands("run", "two.py:add", "--jsonl", "-", stdin="[1, 2]\n")
    assert ran.code == 1
    assert "missing 1 required positional argument" in ran.err
    assert "--call args" in ran.err
    ran = manyhands("run", "two.py:add", "--jsonl", "-", "--call", "args", stdin="[1, 2]\n")
    assert (ran.code, "hint" in ran.err) == (0, False)


def test_the_run_can_stop_at_the_first_failure(manyhands):
    ran = manyhands("run", "tasks:refuse_b", "a", "b", "c", "--on-error", "raise")
    assert ran.code == 1
    assert [record["ok"] for record in ran.records] == [True, False]
    assert "ValueError: no b, please" in ran.err
    assert ran.err.splitlines()[-1].endswith("stopped at the first failure")


def test_failures_can_be_left_out_of_the_results(manyhands):
    ran = manyhands("run", "tasks:refuse_b", "a", "b", "c", "--on-error", "skip")
    assert ran.code == 1
    assert [(record["index"], record["result"]) for record in ran.records] == [(0, "a"), (2, "c")]
    assert "item 1 ('b') failed: ValueError: no b, please" in ran.err


def test_plain_results_are_text_as_it_is_and_json_for_the_rest(manyhands):
    assert manyhands("run", "tasks:refuse_b", "ä", "b", "c", "--plain").out == "ä\nc\n"
    assert manyhands("run", "tasks:unusual", "complex", "none", "tuple", "--plain").out == "1j\nnull\n[1, 2]\n"


def test_the_failures_between_plain_results_are_told_on_stderr(manyhands):
    ran = manyhands("run", "tasks:refuse_b", "b", "--plain")
    assert (ran.code, ran.out) == (1, "")
    assert "item 0 ('b') failed: ValueError: no b, please" in ran.err


def test_what_json_cannot_hold_is_given_as_its_repr(manyhands):
    ran = manyhands("run", "tasks:unusual", "complex", "nan", "text")
    assert [record.get("repr") for record in ran.records] == ["1j", "nan", None]
    assert ran.records[2]["result"] == "two\nlines"
    assert "NaN" not in ran.out


def test_arrays_become_lists(manyhands):
    ran = manyhands("run", "array:array", "--jsonl", "-", "--call", "args", stdin='["i", [1, 2]]\n')
    assert ran.results == [[1, 2]]


def test_names_of_files_that_are_not_utf8_come_through(manyhands, folder):
    name = b"caf\xe9.txt"
    (folder / os.fsdecode(name)).touch()
    ran = manyhands("run", "tasks:refuse_b", "--files", "*.txt")
    assert os.fsencode(ran.results[0]) == name
    with (folder / "plain").open("wb") as out:
        manyhands(
            "run",
            "tasks:refuse_b",
            "--files",
            "*.txt",
            "--plain",
            capture_output=False,
            stdout=out,
            stderr=-1,
        )
    assert (folder / "plain").read_bytes() == name + b"\n"


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_nothing_the_task_prints_gets_between_the_results(manyhands, backend):
    ran = manyhands("run", "tasks:chatter", "a", "b", "--backend", backend)
    assert ran.results == ["a", "b"]
    for said in ("printed a", "printed b", "written", "echoed"):
        assert said in ran.err


def test_results_can_go_to_a_file(manyhands, folder):
    ran = manyhands("run", "tasks:refuse_b", "a", "b", "--out", "done.jsonl")
    assert (ran.code, ran.out) == (1, "")
    assert [json.loads(line)["ok"] for line in (folder / "done.jsonl").read_text().splitlines()] == [
        True,
        False,
    ]


def test_the_results_of_an_earlier_run_are_kept_beside_the_new_ones(manyhands, folder):
    (folder / "done.jsonl").write_text("eight hours of work\n")
    manyhands("run", "tasks:double", "a", "--out", "done.jsonl", "--plain")
    assert (folder / "done.jsonl").read_text() == "aa\n"
    assert (folder / "done.jsonl.bak").read_text() == "eight hours of work\n"


def test_a_command_that_cannot_run_leaves_earlier_results_alone(refused, folder):
    (folder / "done.jsonl").write_text("eight hours of work\n")
    (folder / "bad.jsonl").write_text("{\n")
    refused("run", "tasks:double", "--jsonl", "bad.jsonl", "--out", "done.jsonl")
    assert (folder / "done.jsonl").read_text() == "eight hours of work\n"


@pytest.mark.parametrize(
    ("inputs", "out", "said"),
    [
        (["--lines", "tasks.py"], "nowhere/x", "cannot write to --out nowhere/x: No such file"),
        (["--lines", "tasks.py"], "./tasks.py", "--out tasks.py is one of the inputs: name another file"),
        (["--files", "*.py"], "tasks.py", "--out tasks.py is one of the inputs"),
        (["no file", "tasks.py"], "tasks.py", "--out tasks.py is one of the inputs"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_any_work(refused, folder, inputs, out, said):
    before = (folder / "tasks.py").read_text()
    assert said in refused("run", "tasks:double", *inputs, "--out", out).complaint
    assert (folder / "tasks.py").read_text() == before


def test_a_full_disk_ends_the_run_with_one_clear_line(manyhands, folder):
    def no_large_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    ran = manyhands(
        "run",
        "tasks:double",
        "--range",
        "0:50",
        "--out",
        "x",
        "--backend",
        "serial",
        preexec_fn=no_large_files,
    )
    assert ran.code == 2
    assert "cannot write to --out x: File too large; the results before are in it" in ran.complaint
    assert (folder / "x").read_bytes().startswith(b'{"index": 0, ')


def test_a_device_that_is_full_is_told_too(manyhands):
    ran = manyhands("run", "tasks:double", "a", "--out", "/dev/full")
    assert ran.code == 2
    assert "No space left on device" in ran.complaint


@pytest.mark.parametrize("arguments", [("--version",), ("images", "--help"), ("doctor",), ("run", "tasks:double", "a")])
def test_a_stdout_that_is_full_is_told_in_one_line(manyhands, arguments):
    def fill():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    ran = manyhands(*arguments, preexec_fn=fill)
    assert ran.code == 2
    assert ran.err.splitlines()[-1].endswith("to stdout: No space left on device")
    assert "Traceback" not in ran.err


def test_a_folder_that_was_removed_is_told_in_one_line(manyhands, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()

    def go_and_remove():
        os.chdir(gone)
        gone.rmdir()

    ran = manyhands("compare", "--demo", "io", "--html", "a.html", preexec_fn=go_and_remove)
    assert ran.code == 2
    assert ran.err == "manyhands: the folder that this was started in is not there any more: go to another\n"


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_closed_stdout_or_stderr_does_no_harm(manyhands, folder, descriptor):
    def close():
        os.close(descriptor)

    ran = manyhands("run", "tasks:double", "a", "--out", "done", "--plain", preexec_fn=close)
    assert ran.code == 0
    assert (folder / "done").read_text() == "aa\n"


def test_a_task_that_takes_too_long_is_a_failure(manyhands):
    ran = manyhands("run", "tasks:never_ends", "a", "--timeout", "300ms")
    assert ran.code == 1
    assert ran.records[0]["error"]["type"].endswith("TaskTimeout")


def test_a_failing_item_is_tried_again(manyhands, folder):
    marker = folder / "marker"
    assert manyhands("run", "tasks:fails_once_per", marker, "--retries", "1").results == ["made it"]
    marker.unlink()
    assert manyhands("run", "tasks:fails_once_per", marker).code == 1


def test_a_seed_makes_random_numbers_repeatable(manyhands, folder):
    pytest.importorskip("numpy")  # the task's generator is one of numpy's
    (folder / "chance.py").write_text("import manyhands as mh\ndef draw(item): return mh.task_rng().random()\n")
    arguments = ("run", "chance:draw", "--range", "0:20")
    first = manyhands(*arguments, "--seed", "7", "-j", "2").results
    assert manyhands(*arguments, "--seed", "7", "-j", "1").results == first
    assert manyhands(*arguments, "--seed", "8").results != first


def test_the_version_is_printed(manyhands):
    ran = manyhands("--version")
    assert (ran.code, ran.out) == (0, f"manyhands {mh.__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("doctor", "--help"), ()])
def test_help_is_printed(manyhands, arguments):
    ran = manyhands(*arguments)
    assert ran.code == 0
    assert "Usage: manyhands" in ran.out


def commands(group=None, *names):
    for name, command in (group or get_command(app)).commands.items():
        yield from commands(command, *names, name) if hasattr(command, "commands") else [((*names, name), command)]


@pytest.mark.parametrize(("names", "command"), [pytest.param(*one, id=" ".join(one[0])) for one in commands()])
def test_help_cuts_nothing_that_must_be_typed(monkeypatch, capsys, names, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert execute([*names, "--help"]) == 0
    told = capsys.readouterr().out
    introduction, *_ = told.partition("╭")
    lines = [line.strip() for line in introduction.splitlines()]
    for line, following in itertools.pairwise(lines):  # broken only where the next word does not fit
        assert not line or not following or len(f"{line} {following.split()[0]}") > 78
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[0] == "-"}
    assert names - set(re.split(r"[^\w-]+", told)) == set()
    assert re.findall(r"<[a-z|]+(?![a-z|\[\]A-Z>])", told) == []  # choices


def test_help_on_a_narrow_terminal_leaves_room_for_what_it_says(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    assert execute(["synth", "run", "--help"]) == 0
    assert "objects in a picture" in " ".join(re.findall(r"[\w-]+", capsys.readouterr().out))


def test_an_unknown_command_is_told_in_one_line(refused):
    assert "'rum'" in refused("rum").complaint


def test_the_working_folder_does_not_hide_the_modules_the_command_needs(manyhands, folder):
    for name in ("json", "typer", "rich", "tqdm", "select"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong module was imported')\n")
    (folder / "sub").mkdir()
    (folder / "tasks.py").rename(folder / "sub/tasks.py")
    assert manyhands("run", "sub/tasks.py:double", "a").results == ["aa"]
