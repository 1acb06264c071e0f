"""A stream of chunks by `partial_fit` against one `fit` of the same rows: time and log p(x).

The fit makes one pass, so both see each row once. The bars: at most twice the time, and a
log-density of held-out rows that is not lower by more than 1 %.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from _common import arguments, low_rank_rows, parser, table

NAMES = ("VAE", "RAE", "HuberEnergyVAE", "DenoisingAE", "AdversarialAE", "PPCA")


def log_density(model, X) -> float:
    return float(np.mean(model.score_samples(X)))


def recovery(cls, X, fresh, size: int, **params) -> dict[str, list[float]]:
    """Log p(x) before a fault, after it, and after each of five good chunks."""
    chunks = [X[i : i + size] for i in range(0, 106 * size, size)]
    found = {}
    for fault in ("rate", "cell"):
        model = cls(**params)
        for chunk in chunks[:100]:
            model.partial_fit(chunk)
        seen = [log_density(model, fresh)]
        bad = chunks[100].copy()
        rate = model.get_params().get("learning_rate_init")
        if fault == "cell":
            bad[len(bad) // 2, 3] = 1e6
        elif rate is None:
            continue
        else:
            model.set_params(learning_rate_init=1.0)
        try:
            model.partial_fit(bad)
        except FloatingPointError as error:
            print(f"{cls.__name__}: {error}")
        if rate is not None:
            model.set_params(learning_rate_init=rate)
        seen.append(log_density(model, fresh))
        for chunk in chunks[101:106]:
            model.partial_fit(chunk)
            seen.append(log_density(model, fresh))
        found[fault] = seen
    return found


def main() -> None:
    import skvae

    p = parser(__doc__)
    p.add_argument("--chunks", type=int, default=1000)
    p.add_argument("--sizes", type=int, nargs="*", default=[128, 1000])
    p.add_argument("--columns", type=int, default=20)
    p.add_argument("--estimators", nargs="*", default=NAMES)
    p.add_argument("--no-recovery", action="store_true")
    args = arguments(p, "skvae")
    warnings.simplefilter("ignore")
    rows, again = [], []
    for size in args.sizes:
        X = low_rank_rows(args.chunks * size + 5000, args.columns)
        X, fresh = X[:-5000], X[-5000:]
        for name in args.estimators:
            cls = getattr(skvae, name)
            params = {"n_components": 8, "random_state": 0}
            whole = {"max_iter": 1} if "learning_rate_init" in cls().get_params() else {}
            start = time.process_time()
            one = cls(**params, **whole).fit(X)
            fit = time.process_time() - start
            start = time.process_time()
            stream = cls(**params)
            for i in range(0, len(X), size):
                stream.partial_fit(X[i : i + size])
            stream.score_samples(fresh[:1])
            streamed = time.process_time() - start
            a, b = log_density(one, fresh), log_density(stream, fresh)
            rows.append(
                (
                    name,
                    size,
                    f"{fit:.1f}",
                    f"{streamed:.1f}",
                    f"{streamed / fit:.2f}",
                    f"{a:.3f}",
                    f"{b:.3f}",
                    f"{100 * (b - a) / abs(a):+.1f} %",
                )
            )
            print(*rows[-1], flush=True)
            if not args.no_recovery:
                for fault, seen in recovery(cls, X, fresh, size, **params).items():
                    again.append((name, size, fault, *(f"{v:.2f}" for v in seen)))
                    print(*again[-1], flush=True)
    table(
        [
            "",
            "rows a chunk",
            "fit, s",
            "stream, s",
            "ratio",
            "log p, fit",
            "log p, stream",
            "difference",
        ],
        rows,
    )
    table(
        ["", "rows a chunk", "fault", "before", "after it", "1", "2", "3", "4", "5 good chunks"],
        again,
    )


if __name__ == "__main__":
    main()
