"""Fuzz every public method of every estimator: each call works, or says what is wrong.

A case is an estimator with drawn parameters, its fit on a drawn table, and some ten calls. A defect
is an error from deep inside (of torch, numpy, scipy or scikit-learn's algorithms), one that names
nothing of the user's, a warning of numpy, NaN in results, a wild row that is no outlier or changes
its neighbours, an estimator changed by a call that failed, or changed global state. The first of
each kind is printed with the number of its case, which `--case` repeats alone, with traceback.

The bar: 100,000 calls without a defect, at 50 a second or more.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import re
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzzing import run_case


def kind_of(defect: str) -> str:
    """What tells kinds of defects apart: what was wrong, and the error without its numbers."""
    what = defect.split("\n  ", 1)[1].partition(": ")[2]
    return re.sub(r"\d+", "N", what)[:160]


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--calls", type=int, default=2000)
    p.add_argument("--minutes", type=float, default=math.inf)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--case", type=int, help="the only case to run")
    args = p.parse_args()
    calls: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    number, begun = args.case or 0, time.perf_counter()
    with contextlib.suppress(KeyboardInterrupt):  # what was found until then is reported
        while calls.total() < args.calls and time.perf_counter() - begun < 60.0 * args.minutes:
            with contextlib.redirect_stdout(
                io.StringIO()
            ):  # progress lines, where verbose is drawn
                case = run_case(Random(f"{args.seed}/{number}"), number, args.case is not None)
            calls += case.calls
            for defect in case.defects:
                kind = kind_of(defect)
                kinds[kind] += 1
                if kinds[kind] == 1:
                    print(defect, flush=True)
            number += 1
            if args.case is not None:
                break
    rate = calls.total() / (time.perf_counter() - begun)
    for kind, count in kinds.most_common():
        print(f"{count:6} x {kind!r}")
    print(
        f"{calls.total()} calls, {calls['fine']} fine, {calls['refused']} refused, "
        f"{calls['defect']} defects of {len(kinds)} kinds; {rate:.0f} calls/s"
    )
    sys.exit(bool(kinds))


if __name__ == "__main__":
    main()
