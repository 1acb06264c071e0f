"""Tensors only."""

from . import threads as threads  # whoever computes with tensors may be forked
