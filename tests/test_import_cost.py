"""What `import manyhands` costs: nothing that a user did not ask for is loaded."""

import json
import subprocess
import sys

LOADED_ON_USE = {
    "PIL",
    "asyncio",
    "cloudpickle",
    "cv2",
    "dask",
    "distributed",
    "matplotlib",
    "mpi4py",
    "multiprocessing",
    "numba",
    "numpy",
    "pandas",
    "psutil",
    "ray",
    "rich",
    "sqlite3",
    "tqdm",
    "typer",
}

PROGRAM = """
import json, sys
before = set(sys.modules)
import manyhands
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_the_package_loads_nothing_heavy_or_optional():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(result.stdout)}
    assert "manyhands" in loaded
    assert loaded & LOADED_ON_USE == set()
