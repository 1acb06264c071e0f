"""Fitting estimators on the workers of a Dask cluster.

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

_LOOKS_EVERY = 0.5  # seconds to wait for lost workers
_ENDS_WITHIN = 20.0  # seconds until a fit ends that another worker has stopped
_LOCK = "skvae.dask.fit"


def fit(estimator: E, X: Any, y: Any = None, *, client: Any = None) -> E:
    """Fit an estimator to a Dask collection, jointly on the workers of a cluster.

    The result is that of ``estimator.fit(X)``: parameters, random numbers and the model are equal
    to those of a fit to the same rows in one process, up to rounding. Each worker processes its
    share of every mini-batch.

    Parameters
    ----------
    estimator : estimator of skvae
        Estimator that is fitted in place, as by its own `fit`. After an error it is left unchanged.
    X : dask.dataframe.DataFrame or dask.array.Array
        Rows. Arrays have at least two dimensions and are chunked along their rows only. Each worker
        copies all rows, one partition at a time, to a temporary file. Partitions have to contain
        the same rows in every computation.
    y : None
        Not used, present for API consistency by convention.
    client : distributed.Client, optional
        Client of the cluster. None uses the current client.

    Returns
    -------
    estimator : estimator
        The same object, fitted, in the process of the client.

    Raises
    ------
    WorkerLostError
        A RuntimeError: a worker was lost. Another call uses the workers that are then available.
    RuntimeError
        If the cluster has no workers.
    TypeError, ValueError
        If an argument has the wrong type or value. Errors of the fit itself are raised as they are.

    Notes
    -----
    All workers of the cluster take part, one of each process. If a worker is busy with other tasks,
    the others wait for it. Only one fit runs at a time, also with several clients. Estimators
    without distributed training, such as `PPCA` or estimators with ``training__distributed=False``,
    use one worker.

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
        raise RuntimeError(
            "the cluster has no workers: start workers, or call client.wait_for_workers(1)."
        )
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
                "there is no client of a Dask cluster: create one, for example with `client = "
                "distributed.Client()`, or pass it as client."
            ) from None
    if not isinstance(client, dask.Client):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}.")
    if client.asynchronous:
        raise ValueError("client is asynchronous: pass a client with asynchronous=False.")
    return client


def _check(estimator: Any, X: Any) -> None:
    kinds = type(estimator).__mro__
    if not any(kind.__module__.startswith("skvae.") for kind in kinds):
        raise TypeError(
            f"estimator must be an estimator of skvae, got {kinds[0].__name__}: other steps of a "
            "Pipeline do not accept Dask collections."
        )
    if get_tags(estimator).target_tags.required:
        raise TypeError(
            f"{kinds[0].__name__} needs labels, which are not supported for Dask: call its own fit "
            "with arrays, memory-mapped if they are large."
        )
    try:
        DaskSource(X)
    except TypeError:
        raise TypeError(
            f"X must be a Dask data frame or array, got {type(X).__name__}: call the estimator's "
            "own fit for other rows, or use dask.array.from_array."
        ) from None


def _take(estimator: Any, fitted: Any) -> None:
    """Copy the fitted attributes of another estimator with the same parameters."""
    names = estimator.get_params(deep=False)
    own = {*names, "_skl_callbacks"}
    kept = {k: v for k, v in vars(estimator).items() if k in own}
    estimator.__dict__ = kept | {k: v for k, v in vars(fitted).items() if k not in own}
    rng = names.get("random_state")
    if isinstance(rng, np.random.RandomState):
        rng.set_state(fitted.random_state.get_state())


class _Place(NamedTuple):
    """Location of a worker."""

    host: str
    pid: int
    gpus: str | None  # GPUs that are visible to it
    port: int | None  # of the shared notes, on the worker that stores them


# -- the client's side -----------------------------------------------------------------------------


class _Cluster:
    """The workers of a fit, from the view of the client.

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
        """Return the estimator fitted by the first worker."""
        job = _pickled((self.estimator, X))
        workers = sorted(self.client.nthreads())
        if not _is_shared(self.estimator):
            workers = workers[:1]
        try:
            asked = [partial(_prepare, self.name, keeps_notes=not i) for i in range(len(workers))]
            found = self._of_all(asked, workers)
            own = {(place.host, place.pid): i for i, place in reversed([*enumerate(found)])}
            chosen = sorted(own.values())  # a process has only one group of torch.distributed
            places, workers = [found[i] for i in chosen], [workers[i] for i in chosen]
            task = partial(_fit_here, self.name, places[0].host, places[0].port, len(places), job)
            tasks = [partial(task, rank, gpu) for rank, gpu in enumerate(_gpus(places))]
            return self._of_all(tasks, workers)[0]
        finally:
            self._tell(_end, workers)

    def _of_all(self, functions: Sequence[Callable[[], Any]], workers: Sequence[str]) -> list[Any]:
        """Return the results of functions, each called on its worker; the first error stops all."""
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
        """Wait a limited time for the workers that are still fitting."""
        self._tell(_stop, workers)
        end = time.monotonic() + _ENDS_WITHIN
        while time.monotonic() < end:
            there = self.client.nthreads()
            left = [f for f, w in zip(futures, workers, strict=True) if w in there]
            if all(f.status != "pending" for f in left):
                break
            self._wait(left, _LOOKS_EVERY)

    def _error(self, futures: list[Any], workers: Sequence[str]) -> BaseException:
        """Return the first error, as far as it can be determined."""
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
            f"{worker} was lost: it was killed, perhaps for lack of memory, or has ended. The "
            "estimator is unchanged; call fit again to use the workers that are then available."
        )

    def _tell(self, function: Callable[[str], None], workers: Sequence[str]) -> None:
        """Call a function that returns immediately on the available workers."""
        with suppress(OSError, RuntimeError, ValueError, TimeoutError):
            there = [worker for worker in workers if worker in self.client.nthreads()]
            if there:
                self.client.run(function, self.name, workers=there, on_error="ignore")


def _is_shared(estimator: Any) -> bool:
    """Return whether several processes would train the estimator together."""
    if "training" not in estimator.get_params(deep=False):
        return False
    return getattr(estimator.training, "distributed", "auto") is not False


def _gpus(places: Sequence[_Place]) -> list[int]:
    """Return the index of the GPU for each worker, among its visible GPUs.

    Workers of one host with the same visible GPUs divide them. If each has other visible GPUs, as
    with dask-cuda, each uses its first one.
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
            f"estimator and X must be picklable to be sent to the workers: {error}"
        ) from error
    return found


# -- the workers' side -----------------------------------------------------------------------------

_stopped: dict[str, threading.Event] = {}  # of fits that run in this process
_stores: dict[str, Any] = {}


def _prepare(name: str, keeps_notes: bool) -> _Place:
    """Wait until no abandoned fit runs in this process, and return its location."""
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
    """Stop a fit of this process by an error, at its next step or partition."""
    event = _stopped.get(name)
    if event is not None:
        event.set()


def _end(name: str) -> None:
    _stop(name)
    _stores.pop(name, None)


def _fit_here(
    name: str, host: str, port: int, size: int, job: bytes, rank: int, gpu: int
) -> Any | None:
    """Fit on one worker; the first worker returns the estimator."""
    dask = imported("distributed", "skvae.dask")
    client = dask.get_client()
    dask.secede()  # its slot is needed for the tasks that compute partitions
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
    """Yield partitions of a collection until the fit is abandoned."""

    def __init__(self, X: Any, thread: meeting.Thread):
        self.source, self.thread = DaskSource(X), thread

    def tables(self) -> Iterator[Any]:
        for table in self.source.tables():
            self.thread.check()
            yield table
