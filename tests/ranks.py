"""What each of several processes does in test_distributed.py; and how they are started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from contracts import dressed, fit, instances, is_trained, table
from sklearn.base import clone

HERE = Path(__file__).parent


# -- starting processes ----------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def environment(**more: Any) -> dict[str, str]:
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        **{k: str(v) for k, v in more.items()},
    }


def end(process: subprocess.Popen) -> None:
    """End a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def run(job: str, size: int, folder: Path, timeout: float = 100.0) -> list[tuple[int, str]]:
    """Exit status and output of each rank of a job."""
    port, begun, logs = free_port(), [], []
    for rank in range(size):
        logs.append(folder / f"{job}-{rank}.txt")
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": rank}
        with open(logs[-1], "wb") as log:
            begun.append(
                subprocess.Popen(
                    [sys.executable, __file__, job, str(folder)],
                    env=environment(RANK=rank, WORLD_SIZE=size, **place),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
    limit = time.monotonic() + timeout
    try:
        for process in begun:
            process.wait(timeout=max(0.1, limit - time.monotonic()))
    except subprocess.TimeoutExpired:
        told = "\n".join(log.read_text()[-2000:] for log in logs)
        raise AssertionError(f"{job} hangs:\n{told}") from None
    finally:
        for process in begun:
            end(process)
    return [(p.returncode, log.read_text()) for p, log in zip(begun, logs, strict=True)]


# -- jobs ------------------------------------------------------------------------------------------


def family(every: bool) -> dict[str, Any]:
    """Estimators trained by descent for about 50 steps, by name."""
    some = [e for e in (dressed() if every else instances()) if is_trained(e)]
    found = {}
    for i, estimator in enumerate(some):
        model = clone(estimator).set_params(batch_size=21, max_iter=10)
        found[f"{type(model).__name__}-{i}"] = model
    return found


def holes() -> np.ndarray:
    X = table(121)
    X[::7, 1] = X[3::5, 2] = np.nan
    return X


def described(model: Any) -> dict[str, np.ndarray]:
    """Weights of a fitted model, and what follows from them."""
    state = model.module_.state_dict()
    found = {f"weights {k}": v.double().numpy() for k, v in state.items()}
    found["loss"] = np.array(model.loss_curve_)
    found["validation"] = np.array(model.validation_scores_)
    for name in ("offset_", "calibration_scores_"):
        if hasattr(model, name):
            found[name] = np.asarray(getattr(model, name))
    return found


def fit_all(every: bool) -> dict[str, dict[str, np.ndarray]]:
    warnings.simplefilter("ignore")
    found = {}
    for name, model in family(every).items():
        found[name] = described(fit(model, table(121)))
    for name in ("VAE", "SparseAE", "ConditionalVAE"):
        model = next(m for n, m in family(False).items() if n.startswith(f"{name}-"))
        found[f"{name} with holes"] = described(
            fit(clone(model).set_params(noise_variance="scalar"), holes())
        )
    return found


def store(name: str, folder: Path, every: bool) -> None:
    rank = os.environ.get("RANK", "alone")
    for model, values in fit_all(every).items():
        np.savez(folder / f"{name}-{rank}-{model}.npz", **values)


if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    if job in ("instances", "dressed"):
        store(job, folder, every=job == "dressed")
    else:
        import jobs

        getattr(jobs, job)(folder)
