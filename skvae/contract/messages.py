"""Warnings that refer to the line of the user's code."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings

import joblib
import sklearn

_INSIDE = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    *(os.path.abspath(library.__path__[0]) + os.sep for library in (sklearn, joblib)),
    contextlib.__file__,
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside of this package, of scikit-learn and of joblib."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
