"""For behaviour that does not depend on how a worker came into being.

Spawned workers run the same code as those of the zygote and are the slowest to start: they take part under stress only.
"""

from __future__ import annotations

import pytest

_spawned = pytest.param("spawn", marks=pytest.mark.stress)


def _over(fixture: str, *kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(fixture, [*kinds, _spawned], indirect=True)


any_backend = _over("any_backend", "auto", "serial", "threads", "zygote", "fork")
parallel_backend = _over("parallel_backend", "threads", "zygote", "fork")
process_backend = _over("process_backend", "zygote", "fork")
