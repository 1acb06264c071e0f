"""Networks, distributions and losses, on tensors only."""

from . import threads as threads  # processes that use tensors may be forked
