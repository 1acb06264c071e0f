"""Fits in processes that are killed, and begun again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np

_SCRIPT = textwrap.dedent(
    """
    import sys, warnings
    import numpy as np
    import skvae
    warnings.simplefilter("ignore")
    checkpoint, model_file, max_iter, interval = sys.argv[1:]
    X = np.random.default_rng(0).normal(size=(400, 6))
    options = skvae.TrainingOptions(checkpoint=checkpoint, checkpoint_interval=float(interval))
    model = skvae.VAE(2, hidden_layer_sizes=(16,), batch_size=16, random_state=0)
    print("begun", flush=True)
    model.set_params(training=options, max_iter=int(max_iter)).fit(X)
    model.set_params(training=None).save(model_file)
    """
)


def killed_fits(folder, n, max_iter=20, interval=0.0, seed=0):
    """Kill a fit n times at random moments, and let it come to its end.

    Yields
    ------
    was_killed, equal : bool, bool or None
        Of each process; whether its model has the bits of a fit that was not killed, None if there
        is no model.
    """
    whole, target = folder / "whole", folder / "model"
    longest = _run(folder / "c", whole, max_iter, interval)
    rng, left = np.random.default_rng(seed), n
    while left >= 0:
        moment = rng.uniform(0.0, 0.7 * longest) if left else None
        seconds = _run(folder / "c", target, max_iter, interval, moment)
        equal = target.read_bytes() == whole.read_bytes() if target.exists() else None
        target.unlink(missing_ok=True)
        left -= seconds is None or not left
        yield seconds is None, equal
    whole.unlink()


def _run(checkpoint, target, max_iter, interval, moment=None):
    """Seconds of a fit in a process of its own; None if it was killed at a moment."""
    paths = [os.fspath(checkpoint), os.fspath(target)]
    command = [sys.executable, "-c", _SCRIPT, *paths, str(max_iter), str(interval)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        begun = time.perf_counter()
        if moment is not None:
            time.sleep(moment)
            process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        code = process.wait(timeout=300)
    if code and moment is None:
        raise RuntimeError(f"the fit ended with {code}")
    return None if code else time.perf_counter() - begun
