"""Models in other processes and threads: no hang, and the same results to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = textwrap.dedent(
    """
    import multiprocessing, sys, warnings
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    import numpy as np
    import skvae

    warnings.simplefilter("ignore")
    rows = np.random.default_rng(0).normal(size=(3000, 40))

    def fitted():  # with layers wide enough for several threads
        model = skvae.VAE(4, hidden_layer_sizes=(256,), max_iter=1, batch_size=1024, random_state=0)
        return model.fit(rows)

    def scores(model):
        return model.score_samples(rows).tobytes()

    def fit_and_score(_):
        return scores(fitted())

    if __name__ == "__main__":
        how, model = sys.argv[1], fitted()
        if how == "threads":
            pool = ThreadPoolExecutor(8)
        elif how == "loky":
            from joblib.externals.loky import ProcessPoolExecutor as Loky
            pool = Loky(2)
        else:
            pool = ProcessPoolExecutor(2, multiprocessing.get_context(how))
        expected = scores(model)
        for work in (scores, fit_and_score):
            assert set(pool.map(work, [model] * 4)) == {expected}, work
        print("done")
    """
)
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("fork", marks=pytest.mark.skipif(os.name != "posix", reason="no fork")),
        "threads",
        pytest.param("spawn", marks=SLOW),
        pytest.param("forkserver", marks=SLOW),
        pytest.param("loky", marks=SLOW),
    ],
)
def test_pools_do_not_hang(how, tmp_path):
    """After a fit with several threads; a hang ends as TimeoutExpired."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    several = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    found = subprocess.run(
        [sys.executable, str(path), how],
        env={**os.environ, **several},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.stdout == "done\n", found.stderr


def test_the_threads_of_mkl_are_limited_and_given_back():
    """Where MKL_NUM_THREADS is set, it does not ask OpenMP."""
    script = """
        import ctypes, pathlib, torch
        from skvae.nn.threads import one_thread
        path = pathlib.Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
        library = ctypes.CDLL(str(path)) if path.exists() else None
        if not hasattr(library, "MKL_Get_Max_Threads"):
            print("no MKL")
        else:
            found = [library.MKL_Get_Max_Threads()]
            with one_thread():
                found.append(library.MKL_Get_Max_Threads())
            print([*found, library.MKL_Get_Max_Threads()])
        """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.stdout == "no MKL\n":
        pytest.skip("torch comes without MKL")
    assert found.stdout == "[2, 1, 2]\n", found.stderr
