"""One contender, one case, one process: ``python -m benchmarks.one CASE CONTENDER`` prints its seconds and a digest."""

import hashlib
import json
import pickle
import sys
import time

from benchmarks.cases import CASES
from benchmarks.contenders import Work, load


def main() -> None:
    """Run it, in a process in which nothing else was imported."""
    case = CASES[sys.argv[1]]
    contender = load(sys.argv[2])
    work = Work(case.func() if case.made else case.func, case.items(), case.workers, case.initializer)
    if case.warm:
        with contender(work) as run:
            run()
            began = time.perf_counter()
            results = run()
            seconds = time.perf_counter() - began
    else:
        began = time.perf_counter()
        with contender(work) as run:
            results = run()
        seconds = time.perf_counter() - began
    digest = hashlib.sha256()
    for result in results:
        digest.update(result.tobytes() if hasattr(result, "tobytes") else pickle.dumps(result))
    print(json.dumps({"seconds": seconds, "digest": digest.hexdigest(), "count": len(results)}), file=sys.stderr)


if __name__ == "__main__":  # dask starts interpreters that read this again
    main()
