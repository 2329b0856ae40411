"""What can be named as TARGET, and what is said when it cannot be used."""

import os

import pytest


def test_a_function_of_a_module_in_the_working_folder(manyhands):
    assert manyhands("run", "tasks:double", "a").results == ["aa"]


def test_a_function_of_an_installed_module(manyhands):
    assert manyhands("run", "os.path:basename", "a/b").results == ["b"]


def test_a_static_method(manyhands):
    assert manyhands("run", "tasks:Tools.shout", "a").results == ["A"]


def test_a_module_inside_a_package(manyhands, folder):
    (folder / "package").mkdir()
    (folder / "package/__init__.py").touch()
    (folder / "package/inner.py").write_text("from . import other\ndef f(item): return other.VALUE\n")
    (folder / "package/other.py").write_text("VALUE = 7\n")
    assert manyhands("run", "package.inner:f", "a").results == [7]
    from_file = manyhands("run", "package/inner.py:f", "a")
    assert from_file.code == 2
    assert "package.module:function" in from_file.err.splitlines()[-1]


@pytest.mark.parametrize("backend", ["auto", "serial"])
def test_a_file_is_imported_under_its_own_name_and_finds_its_neighbours(manyhands, folder, backend):
    (folder / "sub").mkdir()
    (folder / "sub/work.py").write_text("import beside\ndef f(item): return [__name__, beside.VALUE]\n")
    (folder / "sub/beside.py").write_text("VALUE = 7\n")
    assert manyhands("run", "sub/work.py:f", "a", "--backend", backend).results == [["work", 7]]


@pytest.mark.parametrize("name", ["json", "queue", "typer", "tqdm", "two.dots", "with-dash", "__main__"])
def test_a_file_named_like_another_module_is_still_the_one_that_runs(manyhands, folder, name):
    (folder / f"{name}.py").write_text(
        "class Odd(Exception): pass\n"
        "def f(item):\n"
        "    import json\n"
        "    if item == 'bad': raise Odd(item)\n"
        "    return json.dumps(item)\n"
    )
    ran = manyhands("run", f"{name}.py:f", "fine", "bad", "--backend", "processes")
    assert ran.code == 1
    assert ran.records[0]["result"] == '"fine"'
    assert ran.records[1]["error"]["type"].endswith(".Odd")


def test_a_file_beside_a_package_of_the_same_name_is_still_the_one_that_runs(manyhands, folder):
    (folder / "both").mkdir()
    (folder / "both/__init__.py").write_text("def f(item): return 'the package'\n")
    (folder / "both.py").write_text("def f(item): return 'the file'\n")
    assert manyhands("run", "both.py:f", "a", "--backend", "processes").results == ["the file"]


def test_exceptions_of_the_users_own_module_are_named_in_full(manyhands):
    [record] = manyhands("run", "tasks:raise_mine", "x", "--backend", "processes").records
    assert record["error"]["type"] == "tasks.Mine"
    assert record["error"]["message"] == "about x"
    assert "raise Mine" in record["error"]["traceback"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tasks", "write module:function or file.py:function"),
        ("tasks.py", "write module:function or file.py:function"),
        ("tasks:", "write module:function or file.py:function"),
        ("tasks:a b", "write module:function or file.py:function"),
        ("tasks.txt:f", "there is no module 'tasks.txt'"),
        ("./tasks:f", "neither a module nor a file that ends in .py"),
        ("nowhere:f", "there is no module 'nowhere' in this folder or among the installed packages"),
        ("nowhere.py:f", "there is no file 'nowhere.py' in the folder"),
        ("tasks:doubel", "tasks has no 'doubel'; did you mean 'double'?"),
        ("tasks.py:doubel", "tasks.py has no 'doubel'; did you mean 'double'?"),
        ("tasks:Tools.shuot", "tasks:Tools has no 'shuot'; did you mean 'shout'?"),
        ("tasks:zzz", "tasks has no 'zzz'; it has double, add, refuse_b,"),
        ("tasks:LIMIT", "is not a function but a value of type int"),
        ("tasks:later", "is an async function"),
    ],
)
def test_a_target_that_cannot_be_used_is_told_in_one_line(refused, target, said):
    ran = refused("run", target, "a")
    assert said in ran.complaint
    assert ran.err.count("\n") == 1


def test_in_a_folder_that_has_been_removed_what_is_elsewhere_is_found(manyhands, folder):
    def in_removed_folder():
        os.mkdir(folder / "gone")
        os.chdir(folder / "gone")
        os.rmdir(folder / "gone")

    assert manyhands("run", "os.path:basename", "a/b", preexec_fn=in_removed_folder).results == ["b"]
    assert manyhands("run", f"{folder}/tasks.py:double", "a", preexec_fn=in_removed_folder).results == ["aa"]
    ran = manyhands("run", "tasks.py:double", "a", preexec_fn=in_removed_folder)
    assert (ran.code, "this folder has been removed" in ran.complaint) == (2, True)


@pytest.mark.parametrize("target", ["broken:f", "broken.py:f"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_thing_at_all", "No module named 'no_such_thing_at_all'"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
    ],
)
def test_an_error_inside_the_users_module_is_shown_and_nothing_of_ours(refused, folder, target, code, said):
    (folder / "broken.py").write_text(f"print('importing')\n{code}\n")
    ran = refused("run", target, "a")
    assert said in ran.err
    assert "broken.py" in ran.err
    assert "manyhands/cli" not in ran.err
    assert "importlib" not in ran.err
    assert "cannot be imported" in ran.err.splitlines()[-1]
