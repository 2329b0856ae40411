"""The direction of imports inside the package, as `[tool.importlinter]` in pyproject.toml states it."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lint_imports(folder):
    """Check the `manyhands` that Python finds first from `folder`, against the contracts of this project."""
    lint = Path(sys.executable).with_name("lint-imports")
    command = [lint, "--no-cache", "--no-logo", "--config", ROOT / "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def copy_of_the_package(folder):
    """A copy to break; `lint-imports` puts its working folder first on the path."""
    package = Path(importlib.util.find_spec("manyhands").origin).parent
    return Path(shutil.copytree(package, folder / "manyhands", ignore=shutil.ignore_patterns("__pycache__")))


def test_imports_point_one_way(tmp_path):
    result = lint_imports(tmp_path)
    assert result.returncode == 0, result.stdout


def test_an_import_that_points_upwards_is_refused(tmp_path):
    package = copy_of_the_package(tmp_path)
    with (package / "errors.py").open("a") as errors:
        errors.write("\nfrom manyhands import _core\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "manyhands.errors -> manyhands._core" in result.stdout


def test_a_module_outside_the_layers_is_refused(tmp_path):
    package = copy_of_the_package(tmp_path)
    (package / "homeless.py").touch()
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "homeless" in result.stdout


def test_a_decision_that_looks_at_the_clock_is_refused(tmp_path):
    package = copy_of_the_package(tmp_path)
    (package / "_core" / "impatient.py").write_text("import time\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "manyhands._core.impatient -> time" in result.stdout
