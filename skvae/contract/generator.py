"""Base class of generative models from which new rows can be sampled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from ..tables.checks import Check, Whole
from .blocks import seeds
from .inputs import as_table, numeric
from .learner import BaseLearner, seed_from

_MOST_ROWS = 1 << 40  # rows in one call: more is a mistake


def count_of(given: Any, name: str = "n_samples") -> int:
    """Check the number of rows, or of tables, to sample."""
    whole = isinstance(given, Integral) and not isinstance(given, bool)
    if not whole or not 1 <= int(given) <= _MOST_ROWS:
        raise ValueError(f"{name} must be an integer from 1 to {_MOST_ROWS}, got {given!r}.")
    return int(given)


class BaseGenerator(BaseLearner):
    """Generative model of rows with the API of a scikit-learn estimator.

    Results of hooks are converted to a table of the format of the training table. A fitted subclass
    has `n_components_`.
    """

    n_components_: int
    _fitted_attributes: ClassVar[dict[str, Check]] = {"n_components_": Whole(0, name="k")}

    # -- hooks --------------------------------------------------------------------------------
    @abstractmethod
    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Return mean rows (n, d) given codes (n, k)."""

    @abstractmethod
    def _draw_codes(self, n: int, seed: int) -> np.ndarray:
        """Sample codes (n, k) from the latent distribution."""

    @abstractmethod
    def _draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        """Sample rows (n, d) given codes (n, k), with the noise of the decoder."""

    # -- generating ---------------------------------------------------------------------------
    def inverse_transform(self, X: ArrayLike) -> Any:
        """Decode codes to rows: the mean of the decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes, as `transform` returns them.

        Returns
        -------
        X_original : table of shape (n_samples, n_features)
            Rows in the units of the training rows: a frame of the same library, with the same
            columns and dtypes, or an array after a fit on an array. `set_output` affects codes
            only.
        """
        Z = self._check_codes(X)
        (rows,) = self._in_blocks(lambda part: (self._decode(Z[part]),), len(Z))
        return self._written(rows)

    def _check_codes(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        with numeric():
            found = check_array(as_table(X), dtype=[np.float64, np.float32], input_name="X")
        Z: np.ndarray = found
        if Z.shape[1] != self._n_codes:
            raise ValueError(
                f"X has {Z.shape[1]} columns, but {type(self).__name__} expects {self._n_codes} "
                "code columns."
            )
        return Z

    @property
    def _n_codes(self) -> int:
        """Number of columns that `inverse_transform` expects."""
        return self.n_components_

    def sample(self, n_samples: int = 1, random_state: Any = None, *, noise: bool = True) -> Any:
        """Sample new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed of the samples; None gives different rows in each call.
        noise : bool, default=True
            Whether to add the decoder's noise, if there is any; False returns the decoder's means.

        Returns
        -------
        X : table of shape (n_samples, n_features)
            Rows in the units of the training rows, in a table of the same format: see
            `inverse_transform`.
        """
        check_is_fitted(self)
        n, seed = count_of(n_samples), seed_from(random_state)
        return self._written(self._emit(self._fresh_codes, n, seed, noise))

    def _fresh_codes(self, part: slice, seed: int) -> np.ndarray:
        return self._draw_codes(part.stop - part.start, seed)

    def _emit(
        self, codes: Callable[[slice, int], np.ndarray], n: int, seed: int, noise: bool
    ) -> np.ndarray:
        """Decode ``codes(rows, seed)`` to rows (n, d), block by block."""
        block_seeds, dtype = seeds(seed), self._format_.dtype

        def rows(part: slice) -> tuple[np.ndarray]:
            seed = next(block_seeds)
            Z = codes(part, seed)
            # a random stream other than that of the codes
            drawn = self._draw_rows(Z, (seed + 0x9E3779B9) % 2**32) if noise else self._decode(Z)
            with np.errstate(over="ignore"):  # rows near the largest float32
                return (drawn.astype(dtype, copy=False),)

        return self._in_blocks(rows, n)[0]
