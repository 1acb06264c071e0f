"""Several processes that train one model: the model of one, and errors in place of hangs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import ranks
import torch
from torch import distributed

from skvae.engine import meeting
from skvae.nn import shares

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="this PyTorch has no gloo",
)
ROWS = 13
TOLERANCE = 2e-5  # of float32


def assert_as_one(which, size, folder, timeout):
    status, told = ranks.torchrun(which, size, folder, timeout)
    assert status == 0, told
    for name, expected in ranks.fit_all(which).items():
        first = np.load(folder / f"{name}-0.npz")
        for rank in range(1, size):
            other = np.load(folder / f"{name}-{rank}.npz")
            for key in first.files:
                np.testing.assert_array_equal(other[key], first[key], err_msg=f"{name} {key}")
        assert len(first["loss"]) == len(expected["loss"]), name
        for key, value in expected.items():
            # the mixture or model of the codes is fitted to its end, after training
            if key.startswith("weights density") or name.startswith("TwoStageVAE"):
                continue
            np.testing.assert_allclose(
                first[key],
                value,
                rtol=TOLERANCE,
                atol=TOLERANCE * np.abs(value).max(initial=1e-30),
                err_msg=f"{name} {key}",
            )


def test_two_processes_of_torchrun_train_as_one(tmp_path):
    assert_as_one("few", 2, tmp_path, 200)
    early = np.load(tmp_path / "early-0.npz")
    assert len(early["loss"]) < 20  # it has stopped


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_the_whole_family_trains_as_in_one_process(size, tmp_path):
    assert_as_one("family", size, tmp_path, 900)


# -- errors ----------------------------------------------------------------------------------------


def assert_killed(size, logs, folder):
    assert logs[-1][0] == -9
    for rank in range(size - 1):
        (kind, text, seconds) = json.loads((folder / f"killed-{rank}.json").read_text())["killed"]
        assert kind == "WorkerLostError", text
        assert "another process of this fit was lost" in text
        assert seconds < 30


@pytest.mark.slow
def test_a_killed_rank_is_an_error_on_all_others(tmp_path):
    assert_killed(3, ranks.run("killed", 3, tmp_path), tmp_path)


def test_what_is_wrong_on_one_rank_is_an_error_on_all(tmp_path):
    logs = ranks.run("wrong", 2, tmp_path)
    assert logs[0][0] == 0, logs
    assert_killed(2, logs, tmp_path)
    first, second = (json.loads((tmp_path / f"wrong-{rank}.json").read_text()) for rank in range(2))
    for name, kind, text in (
        ("rows", "ValueError", "infinity"),
        ("parameters", "InvalidParameterError", "'max_iter' parameter"),
        ("step", "OSError", "the disk is gone"),
    ):
        assert second[name][0] == kind
        assert text in second[name][1]
        assert first[name][0] == "WorkerLostError", name
        assert f"rank 1 has failed: {kind}: " in first[name][1]
        assert text in first[name][1]
    for name, text in (
        ("unequal", "rank 0: Autoencoder of 121 rows of 5 features; rank 1: Autoencoder of 120"),
        ("features", "rank 1: Autoencoder of 121 rows of 4 features"),
        ("others", "the rows of rank 1 differ from those of rank 0"),
        ("small", "increase batch_size, or start fewer processes"),
        ("others asked", "n_components of rank"),
        ("one checkpoint", "training__checkpoint of rank"),
    ):
        for found in (first, second):
            if found[name][0] != "WorkerLostError":  # the other was faster
                assert found[name][0] == "ValueError", name
            assert text in found[name][1]
    assert first["stopped"][0] == "WorkerLostError"
    assert first["was there"][1]
    went_on = first["went on"][:2]
    assert went_on == second["went on"][:2] == first["never stopped"][:2]
    assert went_on[0] == ""
    for name in ("right", "right again", "verbose"):
        assert first[name][:2] == second[name][:2] == ["", first["right"][1]]
    assert first["no seed"][1] == second["no seed"][1] != first["right"][1]
    assert first["alone"][1] != second["alone"][1]
    assert first["threads"][0] == second["threads"][0] == ""
    assert first["fork"][:2] == ["", 0]
    assert "epoch 2/2" in logs[0][1]
    assert "epoch 2/2" not in logs[1][1]


def test_a_rank_that_ends_without_a_fit_is_an_error_on_others(tmp_path):
    status, log = ranks.torchrun("absent", 2, tmp_path, 100)
    assert status == 0, log
    (kind, text, seconds) = json.loads((tmp_path / "absent-0.json").read_text())["absent"]
    assert kind == "WorkerLostError", text
    assert "rank 1 has ended without a call of fit, for which rank 0 waits" in text
    assert seconds < 30


def test_a_rank_that_is_late_is_told_of(tmp_path):
    logs = ranks.run("late", 2, tmp_path)
    assert [status for status, _ in logs] == [0, 0], logs
    found = json.loads((tmp_path / "late-0.json").read_text())
    assert found["first"][:2] == found["second"][:2] == ["", 5]
    assert "rank 0 waits for rank 1 to call fit, for " in found["first told"][0]
    assert "rank 0 waits for others to call fit, for " in found["second told"][0]
    for name, text in (
        ("never", "s have passed, and rank 0 waits for others to call fit"),
        ("ended", "rank 1 has ended without a call of fit"),
    ):
        assert found[name][0] == "WorkerLostError", name
        assert text in found[name][1]
        assert found[name][2] < 30


# -- parts of a batch ------------------------------------------------------------------------------


def parts(size, rows=ROWS):
    """The share of each of so many workers, where what they gather is made here."""
    return [shares.Share(rank, size, rows, lambda z: z, lambda mean: None) for rank in range(size)]


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_workers_draw_what_one_would(size, draws):
    whole = torch.arange(draws * ROWS * 2.0).view(draws * ROWS, 2)
    seeded = torch.Generator().manual_seed
    expected = shares.normal_like(whole, seeded(0))
    for part in parts(size):
        with shares.sharing(part):
            own = shares.own_rows(whole)
            assert len(own) == draws * part.n_own
            torch.testing.assert_close(
                shares.normal_like(own, seeded(0)), part.own(expected), rtol=0, atol=0
            )
    assert shares.current_share() is None


@pytest.mark.parametrize("draws", [1, 2])
def test_gathered_rows_are_in_their_order(draws):
    whole = torch.arange(draws * ROWS)
    of_each = [part.own(whole) for part in parts(3)]
    part = shares.Share(1, 3, ROWS, lambda z: torch.cat(of_each), lambda mean: None)
    torch.testing.assert_close(part.whole(of_each[1]), whole)


def test_without_workers_these_are_plain_functions():
    z = torch.ones(3, 2)
    assert shares.batch_mean(z) is shares.whole_batch(z) is shares.own_rows(z) is z


def test_notes_of_one_attempt_of_torchrun_are_not_those_of_the_next(monkeypatch):
    store = distributed.HashStore()
    monkeypatch.setattr(meeting, "_bare_store", lambda wait: store)
    meeting._store_of_variables(wait=True).set("skvae/ended/0", "")
    assert meeting._store_of_variables(wait=True).check(["skvae/ended/0"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not meeting._store_of_variables(wait=True).check(["skvae/ended/0"])
