"""Fits that survive: killed, interrupted or refused, and the same to the last bit in the end."""

from __future__ import annotations

import errno
import os
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from contracts import interrupt_at
from kills import killed_fits
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import skvae
from skvae import GAN, VAE, AdversarialAE, Autoencoder, ConditionalVAE, TrainingOptions
from skvae.engine import checkpoint
from skvae.engine.batches import TensorSource
from skvae.engine.checkpoint import Checkpoint, described
from skvae.engine.optimiser import Adam
from skvae.engine.settings import CheckpointSettings
from skvae.engine.trainer import Trainer, TrainState
from skvae.engine.workers import Workers
from skvae.nn.batch import Batch
from skvae.tables.files import read

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Killed(BaseException):
    """Stands for the end of the process."""


def rows(n=200, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, 5))
    X[:, 1] += 2.0 * X[:, 0]
    return X


def make(cls=VAE, path=None, interval=300.0, **parameters):
    options = {k.removeprefix("training__"): v for k, v in parameters.items() if "__" in k}
    parameters = {k: v for k, v in parameters.items() if "__" not in k}
    training = TrainingOptions(checkpoint=path, checkpoint_interval=interval, **options)
    quick = {"hidden_layer_sizes": (8,), "batch_size": 32, "max_iter": 30, "random_state": 0}
    return cls(2, training=training, **{**quick, **parameters})


def flat(value, name=""):
    """Parts of a value by their paths, arrays as bytes."""
    if hasattr(value, "get_params"):
        value = vars(value)
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{name}.{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{name}.{i}").items()}
    if isinstance(value, np.ndarray):
        value = (value.dtype.str, value.shape, value.tobytes())
    return {name: repr(value)}


def state(model):
    """All that a fit has set: weights, moments, curves, noise, densities, thresholds."""
    parameters = model.get_params(deep=False)
    return flat({k: v for k, v in model.__getstate__().items() if k not in parameters})


def stopped_at(monkeypatch, n, error=Killed):
    """Raise an error after a checkpoint is written at the beginning, 1, or a step, from 2 on."""
    steps, original = [1], Checkpoint.write

    def count(self):
        steps[0] += 1
        return steps[0] == n

    def stop(self, *args, **kwargs):
        original(self, *args, **kwargs)
        if steps[0] == n:
            steps[0] += 1
            raise error

    monkeypatch.setattr(Checkpoint, "is_due", count)
    monkeypatch.setattr(Checkpoint, "write", stop)


def fit_in_parts(model, X, stops, *labels):
    """A fit that is stopped again and again."""
    for write in stops:
        with pytest.MonkeyPatch.context() as patch:
            stopped_at(patch, write)
            with pytest.raises(Killed):
                model.fit(X, *labels)
    return model.fit(X, *labels)


CASES = {
    "VAE": (VAE, {}),
    "two turns": (AdversarialAE, {}),
    "generator": (GAN, {"max_iter": 20}),
    "early stopping": (
        VAE,
        {"early_stopping": True, "training__patience": 2, "training__tol": 0.5, "max_iter": 80},
    ),
    "density": (VAE, {"noise_variance": "network", "training__patience": 3}),
    "codes": (Autoencoder, {"latent_density": GaussianMixture(2, random_state=0)}),
    "no check before the end": (VAE, {"max_iter": 8}),
    "bfloat16": (VAE, {"training__precision": "bfloat16", "max_iter": 15}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_fit_ends_with_the_same_bits(case, tmp_path):
    cls, parameters = CASES[case]
    X, path = rows(), tmp_path / "checkpoint"
    whole = state(make(cls, **parameters).fit(X))
    for stops in ([1], [2, 8, 31]):
        model = fit_in_parts(make(cls, path, **parameters), X, stops)
        assert state(model) == whole, stops
        assert not list(tmp_path.iterdir())


def test_labels_frames_and_missing_cells_survive_too(tmp_path):
    X, y = rows(), np.repeat(["a", "b"], 100)
    X[::7, 2] = np.nan
    whole = state(make(ConditionalVAE).fit(X, y))
    model = fit_in_parts(make(ConditionalVAE, tmp_path / "c"), X, [3, 40], y)
    assert state(model) == whole


def test_restarts_after_a_loss_that_was_not_finite_survive(tmp_path, monkeypatch):
    step = Adam.step

    def spoiled(self, batch, rng, progress, lr, *args, **kwargs):
        terms = step(self, batch, rng, progress, lr, *args, **kwargs)
        if int(self.count) == 100 and lr > 3e-3:  # after the restart the rate is 2.5e-3
            self.lengths.add(torch.tensor(torch.nan))
        return terms

    monkeypatch.setattr(Adam, "step", spoiled)
    X, rate = rows(), {"learning_rate_init": 1e-2}
    whole = make(**rate).fit(X)
    model = fit_in_parts(make(path=tmp_path / "c", **rate), X, [3, 95, 20, 20, 20])
    assert state(model) == state(whole)
    monkeypatch.undo()
    assert state(model) != state(make(**rate).fit(X))


def test_a_fit_that_diverges_leaves_no_checkpoint(tmp_path, monkeypatch):
    """The same fit would go the same way again."""
    step = Adam.step

    def spoiled(self, *args, **kwargs):
        self.lengths.add(torch.tensor(torch.nan))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Adam, "step", spoiled)
    with pytest.raises(FloatingPointError):
        make(path=tmp_path / "c").fit(rows())
    assert not list(tmp_path.iterdir())


# -- interrupts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "warm"), [(70, False), (133, False), (160, True)])
def test_an_interrupted_fit_goes_on_when_fit_is_called_again(at, warm, tmp_path, monkeypatch):
    X, path = rows(), tmp_path / "checkpoint"
    whole = state(make().fit(X))
    model = make(path=path, interval=300.0, warm_start=warm)
    interrupt_at(monkeypatch, at)
    with pytest.warns(ConvergenceWarning, match=f"continues from the checkpoint {path}"):
        model.fit(X)
    monkeypatch.undo()
    assert 0 < model.n_iter_ < 30
    assert np.isfinite(model.score(X))
    assert path.exists()
    assert state(model.fit(X)) == whole
    assert not path.exists()


def test_interrupts_of_early_stopping(tmp_path):
    """Between a check and the next, in the look at held-out rows, and again after going on."""
    X, path = rows(), tmp_path / "checkpoint"
    parameters = {"early_stopping": True, "max_iter": 80, "training__patience": 3}
    whole = state(make(**parameters).fit(X))
    for stops in ([100], [100, 30], [10, 200, 40], [300, 2]):
        model = make(path=path, **parameters)
        for write in stops:
            with pytest.MonkeyPatch.context() as patch:
                stopped_at(patch, write, KeyboardInterrupt)
                try:
                    model.fit(X)
                except KeyboardInterrupt:
                    assert not hasattr(model, "offset_")
        assert path.exists()
        assert state(model.fit(X)) == whole, stops


def test_an_interrupt_while_held_out_rows_are_looked_at(tmp_path, monkeypatch):
    X, path = rows(), tmp_path / "checkpoint"
    parameters = {"early_stopping": True, "max_iter": 80, "training__patience": 3}
    whole = state(make(**parameters).fit(X))
    interrupt_at(monkeypatch, 3, Trainer, "evaluate")
    model = make(path=path, **parameters).fit(X)
    monkeypatch.undo()
    assert len(model.validation_scores_) == 2
    assert state(model.fit(X)) == whole


def test_a_warm_start_survives_too(tmp_path):
    X, path = rows(), tmp_path / "checkpoint"
    whole = state(make(warm_start=True).fit(X).fit(X))
    model = make(warm_start=True).fit(X).set_params(training__checkpoint=path)
    assert state(fit_in_parts(model, X, [5, 90])) == whole
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 9)
        with pytest.raises(Killed):
            model.fit(X)
    with pytest.raises(ValueError, match="the model from which it continues"):
        make(path=path).fit(X)


# -- seeds -----------------------------------------------------------------------------------------


def test_a_seed_that_was_drawn_is_kept(tmp_path, monkeypatch):
    """random_state=None: the fit that goes on is the same one."""
    X, path = rows(), tmp_path / "checkpoint"
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 20)
        with pytest.raises(Killed):
            make(path=path, random_state=None).fit(X)
    seed = read(os.fspath(path))[0]["seed"]
    model = make(path=path, random_state=None).fit(X)
    assert state(model) == state(make(random_state=seed).fit(X))


# -- refusals --------------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path):
    """What a killed fit has left."""
    path = tmp_path / "checkpoint"
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 20)
        with pytest.raises(Killed):
            make(path=path).fit(rows())
    return path


def other(path, **parameters):
    return make(path=path, **parameters)


X = rows()
changed = X.copy()
changed[77, 3] += 1e-3
OTHERS = {
    "learning_rate_init": ("learning_rate_init", other, {"learning_rate_init": 1e-3}, X),
    "layers": ("hidden_layer_sizes", other, {"hidden_layer_sizes": (9,)}, X),
    "random_state": ("random_state", other, {"random_state": 1}, X),
    "no random_state": ("random_state", other, {"random_state": None}, X),
    "alpha": ("training__alpha", other, {"training__alpha": 1.0}, X),
    "class": ("class", partial(make, Autoencoder), {}, X),
    "fewer rows": ("the rows", other, {}, X[:-1]),
    "another cell": ("the rows", other, {}, changed),
    "dtype": ("the rows", other, {}, X.astype(np.float32)),
    "columns": ("the rows", other, {}, np.hstack([X, X])),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_checkpoint_of_another_fit_is_refused(case, left):
    name, maker, parameters, X = OTHERS[case]
    before = left.read_bytes()
    with pytest.raises(ValueError, match=rf"of another fit.*{name}.*Delete it .* another path"):
        maker(path=left, **parameters).fit(X)
    assert left.read_bytes() == before


@pytest.mark.parametrize(
    "parameters",
    [{"verbose": 0, "n_importance_samples": 3}, {"interval": 1e6}, {"contamination": 0.2}],
    ids=str,
)
def test_what_training_does_not_follow_from_may_change(parameters, left):
    parameters = {"path": left, **parameters}
    model = make(**parameters).fit(rows())
    assert state(model) == state(make(**{**parameters, "path": None}).fit(rows()))


def test_another_version_is_refused(left, monkeypatch):
    monkeypatch.setattr(checkpoint, "versions", lambda: {"skvae": "9", "torch": "9"})
    with pytest.raises(ValueError, match="the versions"):
        make(path=left).fit(rows())


def test_a_file_that_is_no_checkpoint_is_refused(left, tmp_path):
    whole = left.read_bytes()
    broken = bytearray(whole)
    broken[-100] ^= 1
    for content in (b"", b"text", whole[:-1], whole[:50], bytes(broken)):
        left.write_bytes(content)
        with pytest.raises(ValueError, match="Delete it"):
            make(path=left).fit(rows())
        assert left.read_bytes() == content
    model = make().fit(rows())
    model.save(left)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        make(path=left).fit(rows())
    left.write_bytes(whole)
    with pytest.raises(ValueError, match="checkpoint of a fit"):
        skvae.load(left)
    make(path=left).fit(rows())


# -- writing ---------------------------------------------------------------------------------------


def test_a_folder_that_takes_no_file_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Adam, "step", None)  # no step is made
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        make(path=tmp_path / "none" / "c").fit(rows())
    with pytest.raises(OSError, match="is a folder"):
        make(path=tmp_path).fit(rows())
    monkeypatch.setattr(checkpoint.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="read-only"):
        make(path=tmp_path / "c").fit(rows())
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(OSError, match=r"the checkpoint .* cannot be written: No space"):
        make(path=tmp_path / "c").fit(rows())
    assert not list(tmp_path.iterdir())


def full(path, data):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_later_failures_warn_once_and_leave_the_old_file(tmp_path, monkeypatch):
    X, path, write = rows(), tmp_path / "checkpoint", checkpoint.write
    calls = [0]

    def fails(place, data):
        calls[0] += 1
        if calls[0] > 10:
            full(place, data)
        write(place, data)

    monkeypatch.setattr(checkpoint, "write", fails)
    with pytest.warns(RuntimeWarning, match=r"No space.*The fit continues") as caught:
        model = make(path=path, interval=0.0).fit(X)
    assert sum("No space" in str(w.message) for w in caught) == 1
    assert calls[0] == 181  # at the beginning and after each step
    assert state(model) == state(make().fit(X))
    monkeypatch.setattr(checkpoint, "write", write)
    assert not path.exists()  # of the fit that ended


def test_a_file_that_another_fit_has_put_there_is_left_alone(tmp_path, monkeypatch):
    path, original = tmp_path / "checkpoint", Checkpoint.write
    calls = [0]

    def intrude(self, *args, **kwargs):
        original(self, *args, **kwargs)
        calls[0] += 1
        if calls[0] == 5:
            path.write_bytes(b"of another fit")

    monkeypatch.setattr(Checkpoint, "write", intrude)
    with pytest.warns(RuntimeWarning, match="another fit writes to it"):
        make(path=path, interval=0.0, max_iter=3).fit(rows())
    assert path.read_bytes() == b"of another fit"


def test_partial_fit_writes_none(tmp_path):
    make(path=tmp_path / "c").partial_fit(rows())
    assert not list(tmp_path.iterdir())


def test_the_interval_is_kept(tmp_path, monkeypatch):
    now, times, original = [0.0], [], Checkpoint.write

    def tick():
        now[0] += 1.0
        return now[0]

    def note(self, *args, **kwargs):
        original(self, *args, **kwargs)
        times.append(now[0])

    monkeypatch.setattr(checkpoint.time, "monotonic", tick)
    monkeypatch.setattr(Checkpoint, "write", note)
    make(path=tmp_path / "c", interval=50.0).fit(rows())
    assert len(times) == 4  # at the beginning, and three times in 180 steps
    assert all(50.0 <= b - a <= 52.0 for a, b in pairwise(times))


@pytest.mark.parametrize("slip", [{"path": 3}, {"interval": -1.0}, {"interval": "a"}], ids=str)
def test_slips_are_named(slip):
    with pytest.raises(ValueError, match=r"'checkpoint(_interval)?' parameter of TrainingOptions"):
        make(**slip).fit(rows())


def test_a_path_is_saved_with_a_model(tmp_path):
    model = make(path=tmp_path / "c").fit(rows())
    model.save(tmp_path / "model")
    loaded = skvae.load(tmp_path / "model")
    assert loaded.training.checkpoint == os.fspath(tmp_path / "c")


# -- processes -------------------------------------------------------------------------------------


class Team(Workers):
    """One of several processes, which see each other's parts through a dictionary."""

    def __init__(self, rank, size=2):
        self.rank, self.size = rank, size

    def agree(self, flag):
        return flag


def test_only_the_first_process_writes(tmp_path):
    settings = CheckpointSettings(os.fspath(tmp_path / "c"), 0.0, {"random_state": 0})
    for rank in (1, 0):
        found = Checkpoint(settings, Team(rank), described(None))
        found.write({}, {"now": torch.ones(3)})
        assert (tmp_path / "c").exists() == (rank == 0)
    found.remove()
    assert not (tmp_path / "c").exists()


def test_the_first_failure_is_that_of_all(tmp_path):
    class Failing(Team):
        def agree(self, flag):
            return flag and not self.fails

        fails = False

    settings = CheckpointSettings(os.fspath(tmp_path / "c"), 0.0, {"random_state": 0})
    team = Failing(1)
    found = Checkpoint(settings, team, described(None)) if not team.fails else None
    team.fails = True
    with pytest.raises(OSError, match="the first process could not"):
        found.write({}, {})


def test_batches_that_are_left_out_change_nothing():
    source = TensorSource(Batch(torch.arange(400.0)[:, None]))
    order = partial(TrainState(3).order, "cpu", 2)
    whole = [b.x for b, _ in source.batches(16, order(0), Workers())]
    for first in (0, 1, 7, 24, 25):
        rest = [b.x for b, _ in source.batches(16, order(0), Workers(), first)]
        assert len(rest) == 25 - first
        assert all(torch.equal(a, b) for a, b in zip(whole[first:], rest, strict=True))
    others = [b.x for b, _ in source.batches(16, order(1), Workers())]
    assert not torch.equal(whole[0], others[0])


# -- kills -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_at_random_moments(n, tmp_path):
    """The file of the model, bit for bit, after a fit that was killed n times."""
    found = list(killed_fits(tmp_path, n, max_iter=5))
    assert sum(was_killed for was_killed, _ in found) == n
    assert found[-1] == (False, True)
    assert False not in {equal for _, equal in found}
    assert not list(tmp_path.iterdir())
