"""What `manyhands doctor` finds, on this machine and on one with something wrong."""

import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from manyhands.cli import machine, packages, starting


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    command = [sys.executable, "-m", "manyhands", "doctor", "--json"]
    folder = tmp_path_factory.mktemp("doctor")
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(ran.stdout)


def test_a_healthy_machine_is_found_healthy(healthy):
    assert healthy["ok"] is True
    assert not [finding for finding in healthy["findings"] if finding["needed"] and finding["problem"]]


def test_the_facts_are_those_of_this_process(healthy):
    facts = {finding["name"]: finding["data"] for finding in healthy["findings"]}
    assert facts["cores"]["affinity"] == len(os.sched_getaffinity(0))
    assert facts["cores"]["host"] == os.cpu_count()
    assert facts["open files"]["soft"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert facts["python"]["executable"] == sys.executable
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]


@pytest.mark.parametrize("method", ["zygote", "spawn", "fork"])
def test_each_way_of_starting_workers_is_tried(healthy, method):
    [finding] = [finding for finding in healthy["findings"] if finding["name"] == method]
    assert finding["problem"] is None
    assert finding["data"]["seconds"] > 0


def test_what_every_python_prints_at_its_start_is_no_answer(folder, monkeypatch):
    (folder / "sitecustomize.py").write_text("print('welcome')\n")
    monkeypatch.syspath_prepend(folder)
    assert starting.try_start("spawn").problem is None


def test_a_package_that_is_not_there_is_said_with_the_way_to_get_it():
    finding = packages.try_package(packages.Package("no_such_module_at_all", "nothing", ("no-such-package",)))
    assert finding.problem is None
    assert "pip install no-such-package" in finding.text
    assert finding.mark == "--"


def test_every_package_that_an_extra_installs_is_looked_at():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name not in {"all", "dev"}}
    installed = {re.match(r"[\w-]+", wanted)[0] for wanted in itertools.chain(*extras.values())}
    assert installed
    assert installed - {name for package in packages.PACKAGES for name in package.distributions} == set()


def test_a_package_that_is_too_old_is_a_problem():
    finding = packages.try_package(packages.Package("tqdm", "bars", ("tqdm",), (999,), needed=True))
    assert finding.problem == "it is older than 999"
    assert finding.remedy == "pip install 'tqdm>=999'"


@pytest.mark.parametrize(
    ("code", "problem", "remedy"),
    [
        ("raise ImportError('libGL.so.1: cannot open')", "libGL.so.1: cannot open", "opencv-python-headless"),
        ("import os; os.abort()", "SIGABRT", "pip install --force-reinstall"),
    ],
)
def test_a_broken_optional_package_is_a_problem_but_not_a_failure(folder, monkeypatch, code, problem, remedy):
    (folder / "cv2.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(folder)
    finding = packages.try_package(packages.Package("cv2", "images", packages.OPENCV))
    assert problem in finding.problem
    assert remedy in finding.remedy
    assert not finding.broken


def test_a_broken_package_that_is_needed_is_a_failure(manyhands, folder):
    (folder / "broken").mkdir()
    (folder / "broken/cloudpickle.py").write_text("raise ImportError('half an installation')\n")
    before = os.environ.get("PYTHONPATH")
    path = f"{folder / 'broken'}:{before}" if before else folder / "broken"
    ran = manyhands("doctor", env=os.environ | {"PYTHONPATH": str(path)})
    assert ran.code == 1
    assert "!!  cloudpickle" in ran.out
    assert "half an installation" in ran.out
    assert "remedy:  pip install --force-reinstall cloudpickle" in ran.out


def test_a_low_limit_on_open_files_is_a_problem_with_a_remedy():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        [finding] = [finding for finding in machine.look() if finding.name == "open files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "few files" in finding.problem
    assert "ulimit -n" in finding.remedy


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        ({}, None, None),
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 1 << 30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        ({"memory/memory.limit_in_bytes": "2097152"}, None, 2 << 20),
    ],
)
def test_the_limits_of_both_versions_of_cgroups_are_read(tmp_path, monkeypatch, files, quota, limit):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    assert machine.cpu_quota() == quota
    assert machine.memory_limit() == limit


def test_the_findings_can_be_cut_short(folder):
    command = f"{sys.executable} -m manyhands doctor | head -n 1; echo ${{PIPESTATUS[0]}} >&2"
    ran = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=100, check=True)
    assert ran.stdout == "Machine\n"
    assert ran.stderr == "141\n"
