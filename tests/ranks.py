"""What each of several processes does in test_distributed.py; and how they are started."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from contracts import dressed, fit, is_trained, make, table
from crafted import people
from joblib import parallel_config
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import distributed, nn

import skvae
from skvae.engine import meeting
from skvae.engine.distributed import several_are_there
from skvae.engine.optimiser import Adam

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


def wait(begun: list[subprocess.Popen], logs: list[Path], timeout: float) -> list[tuple[int, str]]:
    """Exit status and output of processes, all of which are gone afterwards."""
    limit = time.monotonic() + timeout
    try:
        for process in begun:
            process.wait(timeout=max(0.1, limit - time.monotonic()))
    except subprocess.TimeoutExpired:
        told = "\n".join(log.read_text()[-2000:] for log in logs)
        raise AssertionError(f"processes hang:\n{told}") from None
    finally:
        for process in begun:
            process.terminate()  # torchrun then ends those that it has started
        for process in begun:
            end(process)
    return [(p.returncode, log.read_text()) for p, log in zip(begun, logs, strict=True)]


def begin(command: list[str], log: Path, **more: Any) -> subprocess.Popen:
    with open(log, "wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            env=environment(**more),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(job: str, size: int, folder: Path, timeout: float = 100.0) -> list[tuple[int, str]]:
    """Exit status and output of each rank of a job."""
    port, begun, logs = free_port(), [], []
    for rank in range(size):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": rank}
        logs.append(folder / f"{job}-{rank}.txt")
        own = {**place, "RANK": rank, "WORLD_SIZE": size}
        begun.append(begin([__file__, job, str(folder)], logs[-1], **own))
    return wait(begun, logs, timeout)


def torchrun(job: str, size: int, folder: Path, timeout: float) -> tuple[int, str]:
    """Exit status and output of a job under torchrun."""
    place = f"--nproc-per-node {size} --master-addr 127.0.0.1 --master-port {free_port()}"
    command = ["-m", "torch.distributed.run", *place.split(), __file__, job, str(folder)]
    log = folder / "torchrun.txt"
    return wait([begin(command, log)], [log], timeout)[0]


# -- fits that are compared ------------------------------------------------------------------------


def family() -> dict[str, Any]:
    """All estimators trained by descent, in several dresses, for about 50 steps, by name."""
    found = {}
    for i, estimator in enumerate(e for e in dressed() if is_trained(e)):
        model = clone(estimator).set_params(batch_size=21, max_iter=10)
        found[f"{type(model).__name__}-{i}"] = model
    return found


def few() -> dict[str, Any]:
    """One for each way in which the rows of a batch have to do with each other."""
    short: dict[str, Any] = {"batch_size": 21, "max_iter": 4}
    early = {"early_stopping": True, "training__patience": 1, "training__tol": 10.0}
    return {
        "early": make(skvae.VAE, **short | {"batch_size": 5, "max_iter": 20}, **early),
        "scalar": make(skvae.VAE, noise_variance="scalar", free_bits=0.1, **short),
        "weighted": make(
            skvae.VAE,
            noise_variance="scalar",
            bound="importance_weighted",
            n_draws=3,
            **short,
        ),
        "permuted": make(skvae.FactorVAE, **short),
        "gathered": make(skvae.HuberEnergyVAE, **short),
        "turns": make(skvae.MaskAAE, **short),
        "rates": make(skvae.SparseAE, penalty="kl", **short),
        "categories": make(skvae.InfoGAN, **short),
        "labels": make(skvae.ConditionalVAE, **short),
        "custom": make(skvae.Autoencoder, encoder=lambda i, o: nn.Linear(i, o), **short),
    }


def with_holes() -> dict[str, Any]:
    found = {}
    for noise in ("scalar", "feature"):
        found[f"holes {noise}"] = make(skvae.VAE, noise_variance=noise, batch_size=21, max_iter=4)
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


def fit_all(which: str) -> dict[str, dict[str, np.ndarray]]:
    """What fits give, by the names of the models."""
    chosen = family() if which == "family" else few()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: described(fit(model, table(121))) for name, model in chosen.items()}
        for name, model in with_holes().items():
            found[name] = described(fit(model, holes()))
        kinds = make(skvae.VAE, noise_variance="scalar", batch_size=21, max_iter=4)
        found["kinds"] = described(kinds.fit(people(121)))
        stream, X = make(skvae.VAE, batch_size=21), table(121)
        found["stream"] = described(stream.partial_fit(X[:60]).partial_fit(X[60:]))
        stream.set_params(warm_start=True, max_iter=2)
        found["warm"] = described(stream.fit(X))
    return found


def store(which: str, folder: Path) -> None:
    rank = os.environ.get("RANK", "alone")
    for name, values in fit_all(which).items():
        np.savez(folder / f"{name}-{rank}.npz", **values)
    assert several_are_there()  # and torch.distributed was started by the first fit


# -- fits that go wrong ----------------------------------------------------------------------------


def tried(function: Callable[[], Any]) -> list[Any]:
    """The error of a call, and the seconds that it took."""
    begun = time.monotonic()
    try:
        found = function()
    except Exception as error:
        return [type(error).__name__, str(error), time.monotonic() - begun]
    return ["", found, time.monotonic() - begun]


def at_step(step: int, function: Callable[[], Any]) -> Callable[[], None]:
    """Call a function in a step of all training from now on; gives what takes that back."""
    original, count = Adam.step, [0]

    def counted(self: Adam, *args: Any, **how: Any) -> Any:
        count[0] += 1
        if count[0] == step:
            function()
        return original(self, *args, **how)

    def back() -> None:
        Adam.step = original  # type: ignore[method-assign]

    Adam.step = counted  # type: ignore[method-assign]
    return back


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError("the disk is gone")


def forked(function: Callable[[], Any]) -> int:
    """Exit status of a fork that calls a function."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(int(tried(function)[0] != ""))
    return os.waitpid(child, 0)[1]


def killed(rank: int) -> dict[str, Any]:
    """The last rank is killed in mid-fit."""
    if rank == int(os.environ["WORLD_SIZE"]) - 1:
        at_step(20, kill_self)
    model = make(skvae.Autoencoder, batch_size=8, max_iter=100)
    return {"killed": tried(lambda: model.fit(table(121)))}


def wrong(rank: int) -> dict[str, Any]:
    """One wrong thing after another, and right ones between them."""
    found: dict[str, Any] = {}
    X, model = table(121), make(skvae.Autoencoder, batch_size=21, max_iter=2)

    def weight() -> float:
        return float(next(model.fit(X).module_.parameters()).sum())

    broken = X.copy()
    broken[0, 0] = np.inf
    found["rows"] = tried(lambda: model.fit(broken if rank else X))
    found["right"] = tried(weight)
    found["parameters"] = tried(lambda: clone(model).set_params(max_iter=-rank or 1).fit(X))
    found["unequal"] = tried(lambda: model.fit(X[: 121 - rank]))
    found["features"] = tried(lambda: model.fit(X[:, : 5 - rank]))
    found["others"] = tried(lambda: model.fit(table(121, seed=rank)))
    found["small"] = tried(lambda: clone(model).set_params(batch_size=1).fit(X))
    back = at_step(3 if rank else 1 << 30, fail)
    found["step"] = tried(lambda: model.fit(X))
    back()
    found["right again"] = tried(weight)
    found["others asked"] = tried(lambda: clone(model).set_params(n_components=2 + rank).fit(X))
    path = Path(sys.argv[2]) / "fit.checkpoint"
    model.set_params(training__checkpoint=None if rank else path)
    found["one checkpoint"] = tried(weight)
    model.set_params(training__checkpoint=path, training__checkpoint_interval=0, max_iter=10)
    back = at_step(40 if rank else 1 << 30, fail)
    found["stopped"] = tried(weight)
    back()
    found["was there"] = tried(path.exists)
    found["went on"] = tried(weight)
    model.set_params(training__checkpoint=None)
    found["never stopped"] = tried(weight)
    model.set_params(max_iter=2)
    model.set_params(random_state=None)
    found["no seed"] = tried(weight)
    model.set_params(training__distributed=False)
    found["alone"] = tried(weight)
    model.set_params(training__distributed="auto", random_state=0)
    threads = GridSearchCV(model, {"max_iter": [1, 2]}, cv=2, n_jobs=2, refit=False)
    with parallel_config(backend="threading"):
        found["threads"] = tried(lambda: float(threads.fit(X if rank else X[:100]).best_score_))
    if rank == 0:  # a fork has no part in the connections
        found["fork"] = tried(lambda: forked(weight))
    model.set_params(verbose=1)
    found["verbose"] = tried(weight)
    return found


def messages() -> list[str]:
    """What the package logs from now on."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("skvae").addHandler(handler)
    return found


def absent(rank: int) -> dict[str, Any]:
    """Rank 1 ends, and has not called fit."""
    model = make(skvae.Autoencoder, batch_size=8, max_iter=1)
    if rank == 1:
        time.sleep(1.0)
        return {}
    return {"absent": tried(lambda: model.fit(table(121)))}


def late(rank: int) -> dict[str, Any]:
    """Rank 1 calls fit late, then never, and then ends."""
    told, found = messages(), {}
    meeting.TELLS_AFTER = 0.5
    place = f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    distributed.init_process_group(
        "gloo", init_method=place, rank=rank, world_size=2, timeout=timedelta(seconds=4)
    )
    model = make(skvae.Autoencoder, batch_size=8, max_iter=1)
    for name in ("first", "second"):
        time.sleep(1.5 * rank)
        found[name] = tried(lambda: model.fit(table(121)).n_features_in_)
        found[f"{name} told"], told[:] = [*told], []
    if rank == 1:
        time.sleep(6.0)
        return found
    found["never"] = tried(lambda: model.fit(table(121)))
    found["ended"] = tried(lambda: model.fit(table(121)))
    return found


if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    if job in ("family", "few"):
        store(job, folder)
    else:
        warnings.simplefilter("ignore")
        rank = int(os.environ["RANK"])
        jobs = {"killed": killed, "wrong": wrong, "absent": absent, "late": late}
        for name in ["wrong", "killed"] if job == "wrong" else [job]:
            results = jobs[name](rank)
            (folder / f"{name}-{rank}.json").write_text(json.dumps(results, default=str))
