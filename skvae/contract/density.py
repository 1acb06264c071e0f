"""Base class of latent variable models: codes, reconstructions and log-densities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ..tables.table_sources import TableSource
from .blocks import row_blocks, seeds
from .encoder import BaseEncoder
from .generator import count_of
from .inputs import as_table, has_kinds
from .intervals import central_interval, check_interval
from .learner import seed_from
from .map_rows import map_rows, takes_sources
from .scikit_learn import available_if

_LATENT_DRAWS = 4096  # number of samples that represent the latent distribution
_DRAWN_CELLS = 1 << 21  # values sampled at once for intervals


class Scores(NamedTuple):
    """Log-densities of ``n`` rows and their terms, in nats and in the units of X."""

    score: np.ndarray  # (n,) log p(x) = reconstruction.sum(1) + latent
    latent: np.ndarray | None  # (n,) -KL(posterior || prior); with the next
    reconstruction: Any  # (n, d) E_posterior[log p(x_j | z)], or None if not requested
    std: np.ndarray  # (n,) Monte-Carlo standard error of the score
    effective_sample_size: np.ndarray  # (n,)


def _takes_missing_cells(model: Any) -> bool:
    takes: bool = model._takes_missing
    return takes


class BaseLatentModel(BaseEncoder):
    """Generative model with an encoder and a density: codes, reconstructions and scores."""

    # -- hooks --------------------------------------------------------------------------------
    @abstractmethod
    def _posterior(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (n, k) of the codes given rows (n, d)."""

    @abstractmethod
    def _log_density(self, X: np.ndarray, parts: bool) -> Scores:
        """Return log-densities of rows (n, d), with reconstruction per feature if `parts`."""

    def _reconstruct(self, X: np.ndarray) -> np.ndarray:
        return self._decode(self._encode(X))

    def _draw_posterior(self, X: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Sample codes (n, k), code i from the (approximate) posterior of row i % len(X)."""
        mean, std = self._posterior(X)
        i = np.arange(n) % len(X)
        return mean[i] + std[i] * np.random.RandomState(seed).standard_normal((n, mean.shape[1]))

    def _latent_draws(self, n: int, seed: int) -> np.ndarray | None:
        """Return None if the latent distribution is N(0, I), otherwise samples from it."""
        return self._draw_codes(max(_LATENT_DRAWS, 20 * n), seed)

    def _complete(self, X: np.ndarray) -> np.ndarray:
        """Return rows (n, d) with estimates of missing values, such as the conditional mean.

        This method and `_draw_missing` are for models with `_takes_missing`. Their results for
        observed values are not used.
        """
        raise NotImplementedError(
            f"{type(self).__name__} accepts missing values, but does not "
            "implement their imputation (_complete)."
        )

    def _draw_missing(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Sample missing values jointly given the observed ones, as rows (n_draws, n, d)."""
        raise NotImplementedError(
            f"{type(self).__name__} accepts missing values, but does not "
            "implement their sampling (_draw_missing)."
        )

    def _draw_given(self, X: np.ndarray, seed: int) -> np.ndarray:
        """Return rows (n, d) with NaN replaced by samples given the other values of the row."""
        drawn: np.ndarray = self._draw_missing(X, 1, seed)[0]
        return drawn

    def _match_marginals(self, X: np.ndarray) -> np.ndarray:
        """Return sampled rows (n, d) with the training marginals and the same ranks."""
        raise ValueError(
            f"{type(self).__name__} does not store the marginals of its training rows: "
            "match_marginals=True is not available."
        )

    # -- the contract -------------------------------------------------------------------------
    @takes_sources
    def reconstruct(self, X: ArrayLike) -> Any:
        """Encode and decode rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_reconstructed : table of shape (n_samples, n_features)
            Reconstructions in the units of X: a frame with the library, index and columns of X, or
            an array if X is one. After a fit on a frame, integers, booleans and times are rounded
            to the precision of the training rows.
        """
        X = as_table(X)
        rows = self._check_X(X)
        (rebuilt,) = self._in_blocks(lambda part: (self._reconstruct(rows[part]),), len(rows))
        return self._written(rebuilt, X)

    @takes_sources
    def reconstruction_error(self, X: ArrayLike) -> np.ndarray:
        """Compute the mean squared error of the reconstruction of each row, in squared units of X.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Mean squared error over the observed values of each row, 0 if all values are missing;
            larger is worse. For outlier detection prefer `score_samples`, which weights each
            feature by its noise and takes the density of the code into account.
        """
        rows = self._check_X(X)
        return self._in_blocks(lambda part: (self._squared_error(rows[part]),), len(rows))[0]

    def _squared_error(self, X: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            square = np.square(X - self._reconstruct(X), dtype=np.float64)
            error: np.ndarray = np.mean(square, axis=1)
            rows = np.flatnonzero(np.isnan(error))
            seen = ~np.isnan(square[rows])
            count = np.maximum(seen.sum(axis=1), 1)
            error[rows] = np.where(seen, square[rows], 0.0).sum(axis=1) / count
        return error

    @takes_sources
    def posterior(self, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Compute mean and standard deviation of the code of each row.

        Returns
        -------
        mean, std : ndarrays of shape (n_samples, n_components)
            Moments of the posterior p(z | x), or of its approximation.
        """
        rows = self._check_X(X)
        mean, std = self._in_blocks(lambda part: self._posterior(rows[part]), len(rows))
        return mean, std

    def sample(
        self,
        n_samples: int = 1,
        random_state: Any = None,
        *,
        noise: bool = True,
        method: str = "prior",
        X: ArrayLike | None = None,
        given: Mapping[Any, Any] | ArrayLike | None = None,
        match_marginals: bool = False,
    ) -> Any:
        """Sample new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed of the samples; None gives different rows in each call.
        noise : bool, default=True
            Whether to add the decoder's noise, if there is any; False returns the decoder's means.
        method : {"prior", "posterior", "quantized"}, default="prior"
            How codes are sampled. "prior" samples independent codes from the latent distribution.
            "posterior" samples code i from the posterior of row ``i % len(X)`` of `X`. "quantized"
            chooses codes that jointly minimise the energy distance to the latent distribution
            (Turinici 2022). They are more diverse than independent samples, in particular in latent
            spaces of few dimensions; time and memory grow with the square of `n_samples`.
        X : array-like of shape (n_rows, n_features) or None, default=None
            Rows, used only with ``method="posterior"``.
        given : mapping, frame, array-like or None, default=None
            Values of some columns for conditional sampling: the other columns are sampled given
            these values. A mapping from names or positions of columns to one value or `n_samples`
            values; a frame with these columns; or an array of all columns with NaN for values to
            sample; frames and arrays have one row or `n_samples` rows. Missing values are sampled.
            For models that accept missing values.
        match_marginals : bool, default=False
            Whether each column is to have its marginal distribution in the training rows: sampled
            values are replaced by the training values of equal rank. For models that store these
            marginals.

        Returns
        -------
        X : table of shape (n_samples, n_features)
            Rows in the units of the training rows: a frame of the same library, with the same
            columns and dtypes, or an array after a fit on an array.
        """
        check_is_fitted(self)
        n, seed = count_of(n_samples), seed_from(random_state)
        self._check_way(noise, method, given, match_marginals)
        if given is not None:
            drawn = self._sample_given(given, n, seed, lambda X, _, s: self._draw_given(X, s))
            return self._written(drawn)
        drawn = self._emit(self._codes_by(method, X, n, seed), n, seed, noise)
        return self._written(self._match_marginals(drawn) if match_marginals else drawn)

    def _check_way(self, noise: bool, method: str, given: Any, match_marginals: bool) -> None:
        """Raise an error for options of `sample` that cannot be combined."""
        if given is not None and not self._takes_missing:
            raise ValueError(
                f"given cannot be used here, since {type(self).__name__} does not accept rows with "
                "missing values. Use VAE or PPCA for conditional sampling."
            )
        if given is not None and (method != "prior" or not noise):
            raise ValueError("given can be used only with method='prior' and noise=True.")
        if match_marginals and (given is not None or method == "posterior"):
            raise ValueError(
                "match_marginals=True cannot be combined with given or method='posterior', since "
                "the marginals of the samples then differ from those of the training rows."
            )

    def _sample_given(
        self, given: Any, n: int, seed: int, draw: Callable[[np.ndarray, slice, int], np.ndarray]
    ) -> np.ndarray:
        """Return rows (n, d) with some values fixed and the others sampled.

        ``draw(X, part, seed)`` fills the missing values of X, which are the rows `part`.
        """
        rows = self._format_.read_given(given, n, self._handle_unknown())
        if np.isinf(rows).any():
            raise ValueError(
                "given contains infinity: use finite values, or NaN for values to sample."
            )
        block_seeds = seeds(seed)
        for part in row_blocks(n, rows.shape[1]):
            drawn = draw(rows[part], part, next(block_seeds))
            np.copyto(rows[part], drawn, where=np.isnan(rows[part]))
        return rows

    def _codes_by(
        self, method: str, X: Any, n: int, seed: int
    ) -> Callable[[slice, int], np.ndarray]:
        """Return a function that samples the codes of some of n rows, by the method of `sample`."""
        if method not in ("prior", "posterior", "quantized"):
            raise ValueError(f"method must be 'prior', 'posterior' or 'quantized', got {method!r}.")
        if (X is not None) != (method == "posterior"):
            raise ValueError(
                "X is required with method='posterior' and cannot be used with other methods."
            )
        if method == "prior":
            return self._fresh_codes
        if method == "posterior":
            codes = self._draw_posterior(self._check_X(X), n, seed)
        else:
            from ..nn.quantization import quantized_codes  # torch is imported only here

            draws = self._latent_draws(n, seed)
            codes = quantized_codes(n, self.n_components_, seed, draws)
        return lambda part, _: codes[part]

    # -- missing cells ------------------------------------------------------------------------
    @available_if(_takes_missing_cells)
    def impute(self, X: ArrayLike, n_draws: int | None = None, random_state: Any = None) -> Any:
        """Impute missing values; observed values are returned unchanged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. Missing values are NaN in arrays, and the missing values of their library in
            frames.
        n_draws : int or None, default=None
            None imputes one estimate given the observed values of the row: the conditional mean, or
            the most probable label. An integer gives this number of tables, whose missing values
            are sampled from their joint distribution given the observed values: multiple imputation
            (Rubin 1987).
        random_state : int, RandomState or None, default=None
            Seed of the samples.

        Returns
        -------
        filled : table of shape (n_samples, n_features), or several
            Imputed rows, with the library, index, columns and dtypes of X. With `n_draws`, an array
            of shape (n_draws, n_samples, n_features) if X is an array, and a list of frames if X is
            a frame. A column without observed values in training stays missing.

        See Also
        --------
        impute_intervals : Prediction intervals of missing values.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skvae import PPCA
        >>> X = load_iris().data
        >>> X[::3, 2] = np.nan
        >>> ppca = PPCA(n_components=2).fit(X)
        >>> ppca.impute(X).shape, ppca.impute(X, n_draws=5, random_state=0).shape
        ((150, 4), (5, 150, 4))
        """
        if isinstance(X, TableSource):
            if n_draws is not None:
                raise ValueError(
                    "n_draws can be used only for rows in memory: call impute with one table of X "
                    "at a time."
                )
            return map_rows(self.impute, X)
        X = as_table(X)
        rows = self._check_X(X)
        if n_draws is None:
            whole = self._in_blocks(
                lambda part: (_merged(rows[part], self._complete(rows[part])),), len(rows)
            )
            return self._filled(X, rows, whole[0])
        n, block_seeds = count_of(n_draws, "n_draws"), seeds(seed_from(random_state))
        drawn = np.empty((n, *rows.shape), rows.dtype)
        for part in row_blocks(len(rows), n * rows.shape[1]):
            some = rows[part]
            drawn[:, part] = _merged(some, self._draw_missing(some, n, next(block_seeds)))
        if self._is_array_of_numbers(X):
            return drawn
        tables = [self._filled(X, rows, whole) for whole in drawn]
        return tables if has_kinds(X) and not isinstance(X, np.ndarray) else np.stack(tables)

    @available_if(_takes_missing_cells)
    def impute_intervals(
        self,
        X: ArrayLike,
        coverage: float = 0.9,
        n_draws: int = 200,
        random_state: Any = None,
    ) -> tuple[Any, Any]:
        """Compute a prediction interval of each missing value, given the observed values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. Missing values are NaN in arrays, and the missing values of their library in
            frames.
        coverage : float, default=0.9
            Probability under the model that the value lies in its interval, for each value
            separately and not for all values jointly.
        n_draws : int, default=200
            Number of samples of each missing value, whose quantiles are the limits of the interval;
            at least ``2 / (1 - coverage) - 1``.
        random_state : int, RandomState or None, default=None
            Seed of the samples.

        Returns
        -------
        low, high : tables of shape (n_samples, n_features)
            Lower and upper limits, with the library, index, columns and dtypes of X. Observed
            values are unchanged in both. For unordered categories both are the most frequent
            category of the samples.

        See Also
        --------
        impute : Single and multiple imputation.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skvae import PPCA
        >>> X = load_iris().data
        >>> hidden = X.copy()
        >>> hidden[::3, 2] = np.nan
        >>> low, high = PPCA(n_components=2).fit(hidden).impute_intervals(hidden, random_state=0)
        >>> bool(0.8 < np.mean((low <= X) & (X <= high)))
        True
        """
        X = as_table(X)
        rows = self._check_X(X)
        coverage, n = check_interval(coverage, n_draws)
        seed = np.random.SeedSequence(seed_from(random_state))
        low, high = rows.copy(), rows.copy()
        incomplete = np.flatnonzero(np.isnan(rows).any(axis=1))
        size = max(1, _DRAWN_CELLS // (n * rows.shape[1]))
        for i in range(0, len(incomplete), size):
            at = incomplete[i : i + size]
            drawn = self._draw_missing(rows[at], n, int(seed.spawn(1)[0].generate_state(1)[0]))
            ends = central_interval(drawn, coverage, self._format_)
            low[at], high[at] = (_merged(rows[at], end) for end in ends)
        return self._filled(X, rows, low), self._filled(X, rows, high)

    def _filled(self, X: Any, rows: np.ndarray, whole: np.ndarray) -> Any:
        """Return the table X, read as `rows`, with missing values taken from `whole` (n, d)."""
        if self._is_array_of_numbers(X):
            return whole
        return self._format_.fill(X, whole, np.isnan(rows))

    # -- scores -------------------------------------------------------------------------------
    @takes_sources
    def score_samples(self, X: ArrayLike, *, return_std: bool = False) -> Any:
        """Compute the log-density log p(x) of each row, in nats and in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        return_std : bool, default=False
            Whether to also return the Monte Carlo standard error of each value: 0 if the value is
            exact, NaN with a single importance sample.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            log p(x), float64, deterministic; higher is more normal.
        std : ndarray of shape (n_samples,)
            Standard errors in nats. Only if ``return_std=True``.
        """
        score, std = self._scores(self._check_X(X))
        return (score, std) if return_std else score

    def _scores(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log-densities (n,) of rows, and their standard errors."""

        def scores(part: slice) -> tuple[np.ndarray, np.ndarray]:
            found = self._log_density(X[part], parts=False)
            return found.score, found.std

        score, std = self._in_blocks(scores, len(X))
        return score, std

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Compute the mean log-density of the rows, in nats."""
        return float(np.mean(self.score_samples(X)))

    def score_parts(self, X: ArrayLike) -> Bunch:
        """Decompose `score_samples` into a reconstruction term and a latent term.

        ``log p(x) = E[log p(x | z)] - KL(p(z | x) || p(z))``, with the expectation over the
        posterior.

        Returns
        -------
        parts : Bunch
            Arrays of shape (n_samples,): `score`, its terms `reconstruction` and `latent`, the
            Monte Carlo standard error `std`, and `effective_sample_size`.
        """
        rows = self._check_X(X)

        def parts(part: slice) -> tuple[np.ndarray, ...]:
            scores = self._log_density(rows[part], parts=True)
            assert scores.latent is not None
            reconstruction = scores.reconstruction.sum(axis=1)
            size = scores.effective_sample_size
            return scores.score, reconstruction, scores.latent, scores.std, size

        names = ("score", "reconstruction", "latent", "std", "effective_sample_size")
        return Bunch(**dict(zip(names, self._in_blocks(parts, len(rows)), strict=True)))

    def score_features(self, X: ArrayLike) -> np.ndarray:
        """Compute the contribution E[log p(x_j | z)] of each feature to the reconstruction term.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_features)
            Contributions in nats; low values show in which features a row deviates from the model.
            Their sum over features is `score_parts(X).reconstruction`.
        """
        rows = self._check_X(X)
        (shares,) = self._in_blocks(
            lambda part: (self._log_density(rows[part], parts=True).reconstruction,), len(rows)
        )
        return shares


def _merged(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return rows with their missing values replaced."""
    return np.where(np.isnan(rows), values, rows).astype(rows.dtype, copy=False)
