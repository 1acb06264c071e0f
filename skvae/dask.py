"""Fits on the workers of a Dask cluster.

See the page "Many processes" of the documentation.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import numpy as np
from sklearn.utils import get_tags

from .engine import meeting
from .sources import DaskSource, TableSource
from .tables.optional import imported

__all__ = ["fit"]

E = TypeVar("E")

_LOOKS_EVERY = 0.5  # seconds, at workers that are lost
_ENDS_WITHIN = 20.0  # seconds, of a fit that another worker has ended
_LOCK = "skvae.dask.fit"


def fit(estimator: E, X: Any, y: Any = None, *, client: Any = None) -> E:
    """Fit an estimator to a Dask collection, on the workers of a cluster together.

    It is what ``estimator.fit(X)`` would be: parameters, random numbers and the model are those of
    a fit of the same rows by one process, up to rounding. Each worker takes its share of every
    batch.

    Parameters
    ----------
    estimator : estimator of skvae
        It is fitted itself, as by its own `fit`. After an error it is as it was before.
    X : dask.dataframe.DataFrame or dask.array.Array
        Rows. Arrays have two dimensions or more, and are divided along their rows only. Each worker
        copies all rows, a partition at a time, to a temporary file; partitions have to hold the
        same rows whenever they are computed.
    y : None
        Ignored, as by most estimators of skvae.
    client : distributed.Client, optional
        Of the cluster. The current one unless given.

    Returns
    -------
    estimator : estimator
        The same object, fitted, here in the process of the client.

    Raises
    ------
    WorkerLostError
        A RuntimeError: a worker is gone. Another call takes the workers that are there then.
    RuntimeError
        If there is no worker.
    TypeError, ValueError
        If an argument has the wrong type or value. Errors of the fit itself are raised as they are.

    Notes
    -----
    All workers that the cluster has take part, one of each process; where one is busy with other
    tasks, the others wait for it. One fit goes on at a time, also of several clients. An estimator
    that trains alone, as `PPCA` or one with ``training__distributed=False``, takes one worker.

    Examples
    --------
    >>> import dask.array
    >>> import skvae.dask
    >>> from distributed import Client
    >>> from sklearn.datasets import load_iris
    >>> from skvae import PPCA
    >>> X = dask.array.from_array(load_iris().data, chunks=(50, 4))
    >>> with Client(n_workers=1, processes=False, dashboard_address=None):
    ...     model = skvae.dask.fit(PPCA(n_components=2), X)
    ...     scores = X.map_blocks(model.score_samples, drop_axis=1, dtype=float).compute()
    >>> scores.shape
    (150,)
    """
    dask = imported("distributed", "skvae.dask")
    client = _checked_client(dask, client)
    _check(estimator, X)
    if not client.nthreads():
        raise RuntimeError("the cluster has no worker: start some, or client.wait_for_workers(1).")
    with client.as_current(), dask.Lock(_LOCK):
        fitted = _Cluster(dask, client, estimator).run(X)
    _take(estimator, fitted)
    return estimator


def _checked_client(dask: Any, client: Any) -> Any:
    if client is None:
        try:
            client = dask.get_client()
        except ValueError:
            raise ValueError(
                "there is no client of a Dask cluster: begin one, as by "
                "`client = distributed.Client()`, or hand it in as client."
            ) from None
    if not isinstance(client, dask.Client):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}.")
    if client.asynchronous:
        raise ValueError("client is asynchronous: hand in one with asynchronous=False.")
    return client


def _check(estimator: Any, X: Any) -> None:
    kinds = type(estimator).__mro__
    if not any(kind.__module__.startswith("skvae.") for kind in kinds):
        raise TypeError(
            f"estimator must be one of skvae, got {kinds[0].__name__}: other steps of a Pipeline "
            "take no collections of Dask."
        )
    if get_tags(estimator).target_tags.required:
        raise TypeError(
            f"{kinds[0].__name__} learns from labels, which are not taken from Dask: give its own "
            "fit arrays, on disk where they are large."
        )
    try:
        DaskSource(X)
    except TypeError:
        raise TypeError(
            f"X must be a data frame or an array of Dask, got {type(X).__name__}: other rows are "
            "for the estimator's own fit, or for dask.array.from_array."
        ) from None


def _take(estimator: Any, fitted: Any) -> None:
    """Give an estimator what another one, with the same parameters, has learned."""
    names = estimator.get_params(deep=False)
    own = {*names, "_skl_callbacks"}
    kept = {k: v for k, v in vars(estimator).items() if k in own}
    estimator.__dict__ = kept | {k: v for k, v in vars(fitted).items() if k not in own}
    rng = names.get("random_state")
    if isinstance(rng, np.random.RandomState):
        rng.set_state(fitted.random_state.get_state())


class _Place(NamedTuple):
    """Where a worker is."""

    host: str
    pid: int
    gpus: str | None  # those that it sees
    port: int | None  # of the notes of all, on the worker that keeps them


# -- the client's side -----------------------------------------------------------------------------


class _Cluster:
    """The workers of a fit, as the client sees them.

    Parameters
    ----------
    dask : module
        That is `distributed`.
    client : distributed.Client
    estimator : estimator
    """

    def __init__(self, dask: Any, client: Any, estimator: Any):
        self.dask, self.client, self.estimator = dask, client, estimator
        self.name = f"skvae-fit-{uuid4().hex}"

    def run(self, X: Any) -> Any:
        """The estimator that the first worker has fitted."""
        job = _pickled((self.estimator, X))
        workers = sorted(self.client.nthreads())
        if not _is_shared(self.estimator):
            workers = workers[:1]
        try:
            asked = [partial(_prepare, self.name, keeps_notes=not i) for i in range(len(workers))]
            found = self._of_all(asked, workers)
            own = {(place.host, place.pid): i for i, place in reversed([*enumerate(found)])}
            chosen = sorted(own.values())  # a process has one group of torch.distributed
            places, workers = [found[i] for i in chosen], [workers[i] for i in chosen]
            task = partial(_fit_here, self.name, places[0].host, places[0].port, len(places), job)
            tasks = [partial(task, rank, gpu) for rank, gpu in enumerate(_gpus(places))]
            return self._of_all(tasks, workers)[0]
        finally:
            self._tell(_end, workers)

    def _of_all(self, functions: Sequence[Callable[[], Any]], workers: Sequence[str]) -> list[Any]:
        """What functions give, each called on its worker; the first error of any ends all."""
        futures = [
            self.client.submit(
                function, workers=[worker], allow_other_workers=False, pure=False, key=self._key()
            )
            for function, worker in zip(functions, workers, strict=True)
        ]
        lost: list[str] = []
        try:
            while not lost and any(f.status == "pending" for f in futures):
                self._wait(futures, _LOOKS_EVERY)
                if any(f.status not in ("pending", "finished") for f in futures):
                    break
                there = self.client.nthreads()
                lost = [worker for worker in workers if worker not in there]
            if not lost and all(f.status == "finished" for f in futures):
                return list(self.client.gather(futures))
            self._stop(futures, workers)
            raise self._error(futures, workers)
        except BaseException:
            self._tell(_stop, workers)
            raise
        finally:
            self.client.cancel(futures)

    def _key(self) -> str:
        return f"{self.name}-{uuid4().hex}"

    def _wait(self, futures: list[Any], seconds: float) -> None:
        pending = [f for f in futures if f.status == "pending"]
        if pending:
            with suppress(TimeoutError):
                self.dask.wait(pending, timeout=seconds, return_when="FIRST_COMPLETED")

    def _stop(self, futures: list[Any], workers: Sequence[str]) -> None:
        """Let those that still fit come to their end, for a while."""
        self._tell(_stop, workers)
        end = time.monotonic() + _ENDS_WITHIN
        while time.monotonic() < end:
            there = self.client.nthreads()
            left = [f for f, w in zip(futures, workers, strict=True) if w in there]
            if all(f.status != "pending" for f in left):
                break
            self._wait(left, _LOOKS_EVERY)

    def _error(self, futures: list[Any], workers: Sequence[str]) -> BaseException:
        """What went wrong first, as far as one can tell."""
        there = self.client.nthreads()
        lost = [worker for worker in workers if worker not in there]
        errors = [f.exception() for f in futures if f.status == "error"]
        first = sorted(errors, key=lambda e: getattr(e, "is_echo", False))
        if not lost:
            return first[0] if first else self._lost("a worker of this fit")
        error = self._lost(f"the worker {lost[0]}")
        error.__cause__ = first[0] if first else None
        return error

    def _lost(self, worker: str) -> BaseException:
        return meeting.WorkerLostError(
            f"{worker} is gone: it was killed, perhaps for lack of memory, or has ended. The "
            "estimator is as it was before; another call of fit takes the workers that are there "
            "then."
        )

    def _tell(self, function: Callable[[str], None], workers: Sequence[str]) -> None:
        """Call a function, which is done at once, on workers that are there."""
        with suppress(OSError, RuntimeError, ValueError, TimeoutError):
            there = [worker for worker in workers if worker in self.client.nthreads()]
            if there:
                self.client.run(function, self.name, workers=there, on_error="ignore")


def _is_shared(estimator: Any) -> bool:
    """Whether several processes would train it together."""
    if "training" not in estimator.get_params(deep=False):
        return False
    return getattr(estimator.training, "distributed", "auto") is not False


def _gpus(places: Sequence[_Place]) -> list[int]:
    """Number of the GPU for each worker, among those that it sees.

    Workers of one host that see the same GPUs share them out. Where each sees others, as those of
    dask-cuda do, its own comes first.
    """
    found = []
    for i, place in enumerate(places):
        here = [p.gpus for p in places if p.host == place.host]
        before = sum(p.host == place.host for p in places[:i])
        found.append(before if len(set(here)) == 1 else 0)
    return found


def _pickled(job: Any) -> bytes:
    cloudpickle = import_module("cloudpickle")  # of dask

    try:
        found: bytes = cloudpickle.dumps(job)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(
            f"estimator and X have to be pickled for the workers, which fails: {error}"
        ) from error
    return found


# -- the workers' side -----------------------------------------------------------------------------

_stopped: dict[str, threading.Event] = {}  # of fits that go on in this process
_stores: dict[str, Any] = {}


def _prepare(name: str, keeps_notes: bool) -> _Place:
    """Wait until this process is free of fits that were given up, and say where it is."""
    while _stopped:
        for event in list(_stopped.values()):
            event.set()
        time.sleep(0.05)
    dask = imported("distributed", "skvae.dask")
    port = None
    if keeps_notes:
        _stores.clear()
        _stores[name] = meeting.new_store()
        port = _stores[name].port
    host = dask.comm.get_address_host(dask.get_worker().address)
    return _Place(host, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), port)


def _stop(name: str) -> None:
    """Let a fit of this process end by an error, at its next step or partition."""
    event = _stopped.get(name)
    if event is not None:
        event.set()


def _end(name: str) -> None:
    _stop(name)
    _stores.pop(name, None)


def _fit_here(
    name: str, host: str, port: int, size: int, job: bytes, rank: int, gpu: int
) -> Any | None:
    """What each worker does; the first gives the estimator."""
    dask = imported("distributed", "skvae.dask")
    client = dask.get_client()
    dask.secede()  # its place is for the tasks that compute partitions
    event = _stopped[name] = threading.Event()
    thread = meeting.Thread(gpu, event.is_set)
    alone = nullcontext()
    try:
        with client.as_current():
            estimator, X = pickle.loads(job)
            with alone if size == 1 else meeting.connected(host, port, rank, size, thread):
                estimator.fit(_Partitions(X, thread))
    finally:
        del _stopped[name]
    return None if rank else estimator


class _Partitions(TableSource):
    """Partitions of a collection until the fit is given up."""

    def __init__(self, X: Any, thread: meeting.Thread):
        self.source, self.thread = DaskSource(X), thread

    def tables(self) -> Iterator[Any]:
        for table in self.source.tables():
            self.thread.check()
            yield table
