"""Which packages are there, in which version, and whether they can be imported: each is really tried."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import manyhands as mh
from manyhands.cli.apart import try_apart
from manyhands.cli.findings import Finding

NEEDED, OPTIONAL = "Needed packages", "Optional packages"
PATIENCE = 120.0  # seconds for an import; on a slow disk it may take tens
PROGRAM = """
import importlib, importlib.metadata, sys
module, package, distributions = sys.argv[1], sys.argv[2], sys.argv[3:]
importlib.import_module(module)
for name in distributions:
    try:
        print(importlib.metadata.version(name))
        break
    except importlib.metadata.PackageNotFoundError:
        pass
else:
    print(getattr(sys.modules[package], "__version__", "unknown version"))
"""


@dataclass(frozen=True)
class Package:
    """A package, what it is for, and under which names it is installed."""

    module: str
    use: str
    distributions: tuple[str, ...]
    oldest: tuple[int, ...] = ()
    needed: bool = False

    @property
    def name(self) -> str:
        """The name to import."""
        return self.module.partition(".")[0]


OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
PACKAGES = (
    Package("manyhands", "this package", ("manyhands",), needed=True),
    Package("cloudpickle", "functions that travel by value", ("cloudpickle",), (3, 1), needed=True),
    Package("tqdm", "progress bars", ("tqdm",), (4, 66), needed=True),
    Package("typer", "this command", ("typer",), (0, 15), needed=True),
    Package("numpy", "arrays", ("numpy",)),
    Package("cv2", "OpenCV", OPENCV),
    Package("PIL", "images", ("pillow",)),
    Package("pycocotools", "manyhands synth verify", ("pycocotools",), (2, 0, 8)),
    Package("globox", "manyhands synth verify", ("globox",), (2, 9)),
    Package("supervision", "manyhands synth verify", ("supervision",), (0, 31)),
    Package("matplotlib", "charts of comparisons", ("matplotlib",)),
    Package("ipywidgets", "the bar in notebooks", ("ipywidgets",)),
    Package("psutil", "facts about processes", ("psutil",)),
)


def look() -> Iterator[Finding]:
    """Import every package that is installed, some at once, and yield the findings in order."""
    with ThreadPoolExecutor(mh.cpu_count()) as pool:
        yield from pool.map(try_package, PACKAGES)


def try_package(package: Package) -> Finding:
    """Import a package, if it is there, and find out its version."""
    if importlib.util.find_spec(package.name) is None:
        return _missing(package)
    trial = try_apart(PROGRAM, package.module, package.name, *package.distributions, patience=PATIENCE)
    if trial.problem is not None:
        return _broken(package, f"importing it fails: {trial.problem}")
    return _found(package, trial.answer)


def _found(package: Package, version: str) -> Finding:
    if version_numbers(version) >= package.oldest:
        return _finding(package, version, version)
    wanted = ".".join(map(str, package.oldest))
    remedy = f"pip install '{package.distributions[0]}>={wanted}'"
    return _finding(package, version, version, f"it is older than {wanted}", remedy)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version; of an unknown version, a number above all.

    >>> version_numbers("3.1.2"), version_numbers("2.0rc1"), version_numbers("unknown version")
    ((3, 1, 2), (2,), (999999,))
    """
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) or (999999,)


def _missing(package: Package) -> Finding:
    install = f"pip install {package.distributions[0]}"
    if package.needed:
        return _finding(package, "missing", None, "it is not installed", install)
    return _finding(package, f"not installed; for {package.use}: {install}", None)


def _broken(package: Package, problem: str) -> Finding:
    remedy = f"pip install --force-reinstall {package.distributions[0]}"
    if package.name == "cv2" and ".so" in problem:
        remedy = "pip uninstall opencv-python; pip install opencv-python-headless, which needs no display"
    return _finding(package, "broken", None, problem, remedy)


def _finding(
    package: Package, text: str, data: str | None, problem: str | None = None, remedy: str | None = None
) -> Finding:
    section = NEEDED if package.needed else OPTIONAL
    return Finding(section, package.name, text, data, problem, remedy, needed=package.needed)
