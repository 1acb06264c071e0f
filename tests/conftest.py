"""One thread for each test process, and no test may leave global state changed."""

import os

# Before numpy and torch load: results of one machine repeat on another, and the workers of
# pytest-xdist do not fight for cores.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pickle
import random
import warnings

import hypothesis
import numpy as np
import pytest
import threadpoolctl
import torch  # now, because loading it adds warning filters

torch.testing.assert_close(torch.ones(1), torch.ones(1))  # its first call loads much, too

hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeatable")  # --hypothesis-profile=explore looks further


def global_state() -> dict[str, object]:
    """Everything a library could change behind the back of its user."""
    state = {
        "random": random.getstate(),
        "numpy random": pickle.dumps(np.random.get_state()),
        "numpy errors": np.geterr(),
        "numpy printing": str(np.get_printoptions()),
        "warning filters": [
            tuple(getattr(part, "pattern", part) for part in entry) for entry in warnings.filters
        ],
    }
    state |= {
        f"environment {name}": value
        for name, value in os.environ.items()
        if name != "PYTEST_CURRENT_TEST"
    }
    for pool in threadpoolctl.threadpool_info():
        state[f"threads of {pool['filepath']}"] = pool["num_threads"]
    cudnn = torch.backends.cudnn
    return state | {
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "torch dtype": torch.get_default_dtype(),
        "torch device": str(torch.get_default_device()),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch gradients": torch.is_grad_enabled(),
        "torch determinism": torch.are_deterministic_algorithms_enabled(),
        "torch precision": torch.get_float32_matmul_precision(),
        "torch cudnn": (cudnn.deterministic, cudnn.benchmark),
    }


@pytest.hookimpl(wrapper=True, trylast=True)  # innermost: inside pytest's own warning filters
def pytest_runtest_call(item):
    before = global_state()
    result = yield
    after = global_state()
    changed = [key for key in before if before[key] != after.get(key)]
    if item.get_closest_marker("cluster"):
        changed = [key for key in changed if key != "random"]
    assert not changed, f"the test changed global state: {', '.join(changed)}"
    return result
