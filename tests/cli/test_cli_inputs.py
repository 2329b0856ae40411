"""Every source of inputs, every way to call with them, and what is said when they are wrong."""

import pytest


def test_arguments_are_strings(manyhands):
    ran = manyhands("run", "tasks:double", "3", "x")
    assert ran.results == ["33", "xx"]
    assert [record["input"] for record in ran.records] == ["3", "x"]


def test_arguments_may_begin_with_a_dash_after_two_dashes(manyhands):
    assert manyhands("run", "tasks:double", "--", "-3").results == ["-3-3"]


def test_an_argument_that_begins_with_a_dash_is_told_about_the_two_dashes(manyhands):
    ran = manyhands("run", "tasks:double", "-3")
    assert ran.code == 2
    assert "goes after `--`" in ran.complaint


def test_lines_of_a_file_lose_only_their_ends(manyhands, folder):
    (folder / "names").write_bytes("\ufeffone\r\n two \n\nlast".encode())
    assert manyhands("run", "tasks:refuse_b", "--lines", "names").results == ["one", " two ", "", "last"]


def test_lines_come_from_stdin(manyhands):
    assert manyhands("run", "tasks:double", "--lines", "-", stdin="a\nb\n").results == ["aa", "bb"]


def test_no_lines_are_no_work_and_no_failure(manyhands):
    ran = manyhands("run", "tasks:double", "--lines", "-")
    assert (ran.code, ran.out) == (0, "")


def test_json_lines_keep_their_types_and_blank_ones_are_passed_over(manyhands, folder):
    (folder / "values.jsonl").write_text('3\n\n"x"\n[1, 2]\n')
    assert manyhands("run", "tasks:double", "--jsonl", "values.jsonl").results == [6, "xx", [1, 2, 1, 2]]


def test_a_json_array_can_be_spread_over_the_arguments(manyhands):
    assert manyhands("run", "tasks:add", "--jsonl", "-", "--call", "args", stdin="[1, 2]\n").results == [3]


def test_a_json_object_can_be_spread_over_the_named_arguments(manyhands):
    ran = manyhands("run", "tasks:add", "--jsonl", "-", "--call", "kwargs", stdin='{"b": 1, "a": 2}\n')
    assert ran.results == [3]


def test_the_rows_of_a_csv_file_are_named_arguments(manyhands, folder):
    (folder / "pairs.csv").write_text("a,b\n1,2\n\n3,4\n")
    ran = manyhands("run", "tasks:add", "--csv", "pairs.csv")
    assert ran.results == [3, 7]
    assert ran.records[0]["input"] == {"a": "1", "b": "2"}


def test_the_rows_of_a_csv_file_can_be_items_or_arguments(manyhands, folder):
    (folder / "pairs.csv").write_text('x,y\n1,"2,\n3"\n')
    assert manyhands("run", "builtins:dict", "--csv", "pairs.csv", "--call", "item").results == [
        {"x": "1", "y": "2,\n3"}
    ]
    assert manyhands("run", "operator:add", "--csv", "pairs.csv", "--call", "args").results == ["12,\n3"]


def test_files_are_found_in_all_folders_and_sorted(manyhands, folder):
    for name in ("b.txt", "sub/deep/a.txt", "a.txt", "sub/no.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "folder.txt").mkdir()
    ran = manyhands("run", "os.path:basename", "--files", "**/*.txt")
    assert [record["input"] for record in ran.records] == ["a.txt", "b.txt", "sub/deep/a.txt"]


def test_a_range_gives_numbers(manyhands):
    assert manyhands("run", "tasks:double", "--range", "-1:5:2").results == [-2, 2, 6]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no inputs: give ITEM arguments, or one of"),
        (("a", "--range", "0:3"), "(ITEM arguments, --range): give only one"),
        (("--lines", "x", "--csv", "y"), "(--lines, --csv): give only one"),
        (("a", "--files", "*"), "put the pattern of --files in quotes"),
        (("--lines", "nowhere"), "cannot read nowhere: No such file"),
        (("--lines", "."), "cannot read .: Is a directory"),
        (("--files", "*.nothing"), "no file matches --files '*.nothing'"),
        (("--range", "0-5"), "'0-5' is not a range"),
        (("a", "--call", "args"), "--call args needs --jsonl or --csv"),
        (("a", "--timeout", "soon"), "'soon' is not a time"),
        (("a", "-j", "-1"), "'-j'"),
        (("a", "-j", "two"), "'-j'"),
        (("a", "--retries", "-1"), "'--retries'"),
        (("a", "--chunksize", "0"), "'--chunksize'"),
        (("a", "--backend", "cloud"), "'auto', 'serial', 'threads', 'processes'"),
        (("a", "--nope"), "No such option: --nope"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(refused, arguments, said):
    ran = refused("run", "tasks:double", *arguments)
    assert said in ran.complaint
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--lines", b"fine\nb\xe4d\n", "line 2: not UTF-8 text (byte 0xe4 at position 2)"),
        ("--jsonl", b'1\n{"a": \n', "line 2: not JSON: Expecting value at column 6"),
        ("--jsonl", b"[" * 100_000, "line 1: JSON that cannot be read"),
        ("--csv", b"a,b\n1,2\n3\n", "line 3: the row has 1 fields and the header 2"),
        ("--csv", b'a,b\n1,"2\n3,4\n', "line 3: not CSV: unexpected end of data"),
        ("--csv", b"a,a\n1,2\n", "line 1: the header names 'a' twice"),
        ("--csv", b"", "needs a header row"),
    ],
)
def test_a_bad_line_of_a_file_is_found_before_any_work_is_done(refused, folder, option, content, said):
    (folder / "input").write_bytes(content)
    assert said in refused("run", "tasks:double", option, "input", "--call", "item").complaint


@pytest.mark.parametrize(("call", "said"), [("args", "a JSON array"), ("kwargs", "a JSON object")])
def test_an_item_of_the_wrong_shape_is_a_bad_line(refused, folder, call, said):
    (folder / "input").write_text('"text"\n')
    ran = refused("run", "tasks:add", "--jsonl", "input", "--call", call)
    assert f"input, line 1: --call {call} needs {said}" in ran.complaint


@pytest.mark.parametrize("bad", [b"{\n", b"\xff\n"])
def test_before_a_bad_line_of_a_stream_everything_is_delivered(manyhands, bad):
    ran = manyhands("run", "tasks:double", "--jsonl", "-", stdin=b"1\n2\n" + bad + b"4\n")
    assert ran.results == [2, 4]
    assert ran.code == 2
    assert ran.complaint.startswith("manyhands: stdin, line 3: not ")
    assert ran.err.splitlines()[0].startswith("2 done in ")
