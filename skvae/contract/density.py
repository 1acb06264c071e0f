"""The contract of a latent model: codes, reconstructions and log-densities of rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .encoder import BaseEncoder
from .generator import count_of, seed_from

_LATENT_DRAWS = 4096  # codes that stand for their distribution


class Scores(NamedTuple):
    """Log-densities of ``n`` rows and their parts, in nats and in the units of X."""

    score: np.ndarray  # (n,) log p(x) = reconstruction.sum(1) + latent
    latent: np.ndarray | None  # (n,) -KL(posterior || prior); with the next
    reconstruction: Any  # (n, d) E_posterior[log p(x_j | z)], or None where not asked for
    std: np.ndarray  # (n,) Monte-Carlo standard error of the score
    effective_sample_size: np.ndarray  # (n,)


class BaseLatentModel(BaseEncoder):
    """A generator with an encoder and a density: codes, reconstructions and scores of rows."""

    # -- hooks --------------------------------------------------------------------------------
    @abstractmethod
    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, k) and standard deviation (n, k) of the codes given rows (n, d)."""

    @abstractmethod
    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        """Log-densities of rows (n, d); per-feature reconstruction where `parts`."""

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        return self._decode(self._encode(X))

    def _draw_posterior(self, X: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Codes (n, k), the i-th from (about) the normal posterior of row i % len(X)."""
        mean, std = self._posterior(X)
        i = np.arange(n) % len(X)
        return mean[i] + std[i] * np.random.RandomState(seed).standard_normal((n, mean.shape[1]))

    def _latent_draws(self, n: int, seed: int) -> np.ndarray | None:
        """None where codes follow N(0, I), else draws that stand for their distribution."""
        return self._draw_codes(max(_LATENT_DRAWS, 20 * n), seed)

    # -- the contract -------------------------------------------------------------------------
    def reconstruct(self, X: ArrayLike) -> np.ndarray:
        """Rows after encoding and decoding, in the units of X."""
        return self._reconstruct(self._check_X(X))

    def reconstruction_error(self, X: ArrayLike) -> np.ndarray:
        """Mean squared difference of each row from its reconstruction, in squared units of X.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Larger is worse; of the observed cells, where some are missing, and 0 where all are.
            For outliers prefer `score_samples`, which weighs each feature by its noise and knows
            how likely the code itself is.
        """
        X = self._check_X(X)
        with np.errstate(over="ignore"):
            square = np.square(X - self._reconstruct(X), dtype=np.float64)
            error: np.ndarray = np.mean(square, axis=1)
            rows = np.flatnonzero(np.isnan(error))
            seen = ~np.isnan(square[rows])
            count = np.maximum(seen.sum(axis=1), 1)
            error[rows] = np.where(seen, square[rows], 0.0).sum(axis=1) / count
        return error

    def posterior(self, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the code of each row.

        Returns
        -------
        mean, std : ndarrays of shape (n_samples, n_components)
            Moments of the posterior p(z | x) or of its approximation.
        """
        return self._posterior(self._check_X(X))

    def sample(
        self,
        n_samples: int = 1,
        random_state: Any = None,
        *,
        noise: bool = True,
        method: str = "prior",
        X: ArrayLike | None = None,
    ) -> np.ndarray:
        """Draw new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed of the draws; None gives different rows at every call.
        noise : bool, default=True
            Whether to add the decoder's noise, where there is any; False returns its means.
        method : {"prior", "posterior", "quantized"}, default="prior"
            Where codes come from: independent draws; the posterior of given rows `X`,
            draw i from that of row ``i % len(X)``; or codes that together minimise the energy
            distance to their distribution (Turinici 2022), more diverse than independent draws,
            the more so the fewer code coordinates there are; time and memory grow with the
            square of `n_samples`.
        X : array-like of shape (n_rows, n_features) or None, default=None
            Rows, for ``method="posterior"`` only.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training rows.
        """
        check_is_fitted(self)
        seed = seed_from(random_state)
        return self._emit(self._sample_codes(count_of(n_samples), seed, method, X), seed, noise)

    def _sample_codes(self, n: int, seed: int, method: str, X: Any) -> np.ndarray:
        """Codes (n, k) by the methods of `sample`."""
        if method not in ("prior", "posterior", "quantized"):
            raise ValueError(f"method must be 'prior', 'posterior' or 'quantized', got {method!r}.")
        if (X is not None) != (method == "posterior"):
            raise ValueError("X goes with method='posterior', and with no other.")
        if method == "prior":
            return self._draw_codes(n, seed)
        if method == "posterior":
            return self._draw_posterior(self._check_X(X), n, seed)
        from ..nn.quantization import quantized_codes  # torch loads only now

        codes: np.ndarray = quantized_codes(
            n, self.n_components_, seed, self._latent_draws(n, seed)
        )
        return codes

    def score_samples(self, X: ArrayLike, *, return_std: bool = False) -> Any:
        """Log-density log p(x) of each row in nats, in the units of X; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        return_std : bool, default=False
            Whether to return the Monte-Carlo standard error of each value too (zero where the
            value is exact).

        Returns
        -------
        score : ndarray of shape (n_samples,)
            log p(x), float64, the same at every call.
        std : ndarray of shape (n_samples,)
            Only with `return_std`.
        """
        scores = self._log_density(self._check_X(X), parts=False)
        return (scores.score, scores.std) if return_std else scores.score

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log-density of the rows in nats."""
        return float(np.mean(self.score_samples(X)))

    def score_parts(self, X: ArrayLike) -> Bunch:
        """`score_samples` in two parts: how well rows are rebuilt, how usual their codes are.

        ``log p(x) = E[log p(x | z)] - KL(p(z | x) || p(z))``, the mean over the posterior.

        Returns
        -------
        parts : Bunch
            Arrays of shape (n_samples,): `score`, `reconstruction` and `latent`, which add up to
            it, `std`, the Monte-Carlo error, and `effective_sample_size`.
        """
        scores = self._log_density(self._check_X(X), parts=True)
        return Bunch(
            score=scores.score,
            reconstruction=scores.reconstruction.sum(axis=1),
            latent=scores.latent,
            std=scores.std,
            effective_sample_size=scores.effective_sample_size,
        )

    def score_features(self, X: ArrayLike) -> np.ndarray:
        """Each feature's share E[log p(x_j | z)] of the reconstruction part of the score.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_features)
            Nats; low values show where a row departs from the model. Their sum over features is
            `score_parts(X).reconstruction`.
        """
        shares: np.ndarray = self._log_density(self._check_X(X), parts=True).reconstruction
        return shares
