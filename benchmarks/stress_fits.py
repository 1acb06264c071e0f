"""Faults in the middle of fits: afterwards an estimator is unfitted, or the old fit bit for bit.

An exception, a KeyboardInterrupt and a MemoryError are raised at points spread evenly over the
calls of this package's Python functions, in a first fit, a refit, a warm refit, a chunk of a
stream and the first look after one. A fit that hands over its last good state after a
KeyboardInterrupt, with a warning, counts as done; so does one that goes on in smaller parts after
a MemoryError and gives the same.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import arguments, parser, table
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from contracts import digest, instances, labels
from contracts import table as rows_of

import skvae

OWN = str(Path(skvae.__file__).parent)
OPERATIONS = ("fit", "refit", "warm refit", "partial_fit", "first look")


class Fault(Exception):
    """No error that any code expects."""


FAULTS = (Fault, KeyboardInterrupt, MemoryError)


def run(call: Callable[[], Any], at: int = -1, kind: type[BaseException] = Fault) -> int:
    """Calls of own functions in `call`; the one with number `at` raises."""
    count = 0

    def watch(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        if event == "call" and frame.f_code.co_filename.startswith(OWN):
            count += 1
            if count - 1 == at:
                raise kind("at a point")

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


def ready(estimator: Any, operation: str) -> tuple[Any, Callable[[], Any]]:
    """An estimator before the operation, and the operation."""
    model, X, other = clone(estimator), rows_of(120), rows_of(100, seed=2)
    if operation == "fit":
        return model, lambda: model.fit(X, labels(X))
    model.fit(X, labels(X))
    if operation in ("partial_fit", "first look"):
        if operation == "partial_fit":
            return model, lambda: model.partial_fit(other, labels(other))
        model.partial_fit(other, labels(other))
        return model, lambda: model.sample(2, 0)
    if operation == "warm refit":
        model.set_params(warm_start=True)
    return model, lambda: model.fit(other, labels(other))


def check(
    estimator: Any, operation: str, at: int, kind: type[BaseException], old: str, new: str
) -> str:
    """What is wrong afterwards, given digests before and after; an empty text if nothing."""
    model, call = ready(estimator, operation)
    threads = thread_counts()
    lost: list[Any] = []  # Python itself ignores what is raised while a generator is closed
    sys.unraisablehook = lost.append
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(call, at, kind)
    except kind:
        pass
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    else:
        said = any("was interrupted" in str(w.message) for w in caught)
        if kind is KeyboardInterrupt and said:
            return ""
        if digest(model) != new:
            return "another model, fitted"
        harmless = kind is MemoryError or operation == "first look" or lost
        return "" if harmless else "it was swallowed"
    finally:
        sys.unraisablehook = sys.__unraisablehook__
    if thread_counts() != threads:
        return "another number of threads"
    if operation != "fit":
        return "" if digest(model) == old else "another model"
    names = [n for n in vars(model) if n.endswith("_") and not n.endswith("__")]
    if names:
        return f"it has {names}"
    try:
        model.sample(2, 0)
    except NotFittedError:
        return ""
    return "it is fitted"


def thread_counts() -> list[int]:
    import threadpoolctl

    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--points", type=int, default=40)
    p.add_argument("--estimators", nargs="*")
    args = arguments(p, "skvae")
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows, total, wrong = [], 0, 0
    for estimator in instances():
        name = type(estimator).__name__
        if args.estimators and name not in args.estimators:
            continue
        counts = []
        for operation in OPERATIONS:
            if operation == "warm refit" and "warm_start" not in estimator.get_params():
                counts.append("")
                continue
            model, call = ready(estimator, operation)
            old = "" if operation == "fit" else digest(model)
            model, call = ready(estimator, operation)
            n = run(call)
            new = digest(model)
            points = sorted({i * n // args.points for i in range(args.points)})
            bad = 0
            for at in points:
                for kind in FAULTS:
                    found = check(estimator, operation, at, kind, old, new)
                    total += 1
                    if found:
                        bad += 1
                        print(f"{name} {operation} {kind.__name__} at {at} of {n}: {found}")
            wrong += bad
            counts.append(f"{len(FAULTS) * len(points) - bad} of {len(FAULTS) * len(points)}")
        rows.append((name, *counts))
        print(*rows[-1], flush=True)
    table(["", *OPERATIONS], rows)
    print(f"{total - wrong} of {total} left the estimator whole")


if __name__ == "__main__":
    main()
