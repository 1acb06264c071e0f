"""The contract of a latent model: codes, reconstructions and log-densities of rows."""

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

_LATENT_DRAWS = 4096  # codes that stand for their distribution
_DRAWN_CELLS = 1 << 21  # cells that are drawn at once for intervals


class Scores(NamedTuple):
    """Log-densities of ``n`` rows and their parts, in nats and in the units of X."""

    score: np.ndarray  # (n,) log p(x) = reconstruction.sum(1) + latent
    latent: np.ndarray | None  # (n,) -KL(posterior || prior); with the next
    reconstruction: Any  # (n, d) E_posterior[log p(x_j | z)], or None where not asked for
    std: np.ndarray  # (n,) Monte-Carlo standard error of the score
    effective_sample_size: np.ndarray  # (n,)


def _takes_missing_cells(model: Any) -> bool:
    takes: bool = model._takes_missing
    return takes


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

    def _complete(self, X: np.ndarray) -> np.ndarray:
        """Rows (n, d) with an estimate in missing cells, the conditional mean say.

        This and the next are for models with `_takes_missing`. What they say of observed cells is
        not used.
        """
        raise NotImplementedError(f"{type(self).__name__} takes missing cells, but fills none.")

    def _draw_missing(self, X: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
        """Rows (n_draws, n, d) with joint draws given the observed cells in missing ones."""
        raise NotImplementedError(f"{type(self).__name__} takes missing cells, but draws none.")

    def _draw_given(self, X: np.ndarray, part: slice, seed: int) -> np.ndarray:
        """Rows (n, d) with cells drawn where they are NaN, given the others of the row.

        They are the `part` of those that `sample` is asked for.
        """
        drawn: np.ndarray = self._draw_missing(X, 1, seed)[0]
        return drawn

    def _match_marginals(self, X: np.ndarray) -> np.ndarray:
        """Drawn rows (n, d) with the ranks of each column, and its distribution in training."""
        raise ValueError(
            f"{type(self).__name__} has no marginals of its training rows: match_marginals=True "
            "is not for it."
        )

    # -- the contract -------------------------------------------------------------------------
    @takes_sources
    def reconstruct(self, X: ArrayLike) -> Any:
        """Rows after encoding and decoding, in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_reconstructed : table of shape (n_samples, n_features)
            A frame of the library, index and columns of X, or an array where X is one. With a fit
            on a frame, integers, booleans and times are rounded as they were there.
        """
        X = as_table(X)
        rows = self._check_X(X)
        (rebuilt,) = self._in_blocks(lambda part: (self._reconstruct(rows[part]),), len(rows))
        return self._written(rebuilt, X)

    @takes_sources
    def reconstruction_error(self, X: ArrayLike) -> np.ndarray:
        """Mean squared difference of each row from its reconstruction, in squared units of X.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Larger is worse; of the observed cells, where some are missing, and 0 where all are.
            For outliers prefer `score_samples`, which weighs each feature by its noise and knows
            how likely the code itself is.
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
        """Mean and standard deviation of the code of each row.

        Returns
        -------
        mean, std : ndarrays of shape (n_samples, n_components)
            Moments of the posterior p(z | x) or of its approximation.
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
        given : mapping, frame, array-like or None, default=None
            Values of some columns, given which the others are drawn: from names or positions to
            one value or `n_samples` values; or a frame with these columns; or an array of all
            columns with NaN for what is to be drawn; of one row or of `n_samples`. A value that is
            missing is drawn. For models that take missing cells.
        match_marginals : bool, default=False
            Whether to give each column the distribution that it has in training: drawn values are
            replaced by those of equal rank. For models that keep these distributions.

        Returns
        -------
        X : table of shape (n_samples, n_features)
            Rows in the units of the training rows: a frame of their library, with their columns
            and dtypes, or an array where they were one.
        """
        check_is_fitted(self)
        n, seed = count_of(n_samples), seed_from(random_state)
        self._check_way(noise, method, given, match_marginals)
        if given is not None:
            return self._written(self._sample_given(given, n, seed, self._draw_given))
        drawn = self._emit(self._codes_by(method, X, n, seed), n, seed, noise)
        return self._written(self._match_marginals(drawn) if match_marginals else drawn)

    def _check_way(self, noise: bool, method: str, given: Any, match_marginals: bool) -> None:
        """Refuse ways to draw that do not go together."""
        if given is not None and not self._takes_missing:
            raise ValueError(
                f"sample takes no `given` here: {type(self).__name__} does not know rows with "
                "missing cells, of which the rest could be drawn. PPCA does."
            )
        if given is not None and (method != "prior" or not noise):
            raise ValueError("given goes with method='prior' and noise=True, and with no other.")
        if match_marginals and (given is not None or method == "posterior"):
            raise ValueError(
                "match_marginals=True is for draws from the whole distribution: with `given`, or "
                "near rows X, columns have others."
            )

    def _sample_given(
        self, given: Any, n: int, seed: int, draw: Callable[[np.ndarray, slice, int], np.ndarray]
    ) -> np.ndarray:
        """Rows (n, d) with some cells fixed and the others drawn."""
        rows = self._format_.read_given(given, n, self._handle_unknown())
        if np.isinf(rows).any():
            raise ValueError("given holds infinity: give finite values, or NaN for what is drawn.")
        block_seeds = seeds(seed)
        for part in row_blocks(n, rows.shape[1]):
            drawn = draw(rows[part], part, next(block_seeds))
            np.copyto(rows[part], drawn, where=np.isnan(rows[part]))
        return rows

    def _codes_by(
        self, method: str, X: Any, n: int, seed: int
    ) -> Callable[[slice, int], np.ndarray]:
        """What gives the codes of some of n rows, by the methods of `sample`."""
        if method not in ("prior", "posterior", "quantized"):
            raise ValueError(f"method must be 'prior', 'posterior' or 'quantized', got {method!r}.")
        if (X is not None) != (method == "posterior"):
            raise ValueError("X goes with method='posterior', and with no other.")
        if method == "prior":
            return self._fresh_codes
        if method == "posterior":
            codes = self._draw_posterior(self._check_X(X), n, seed)
        else:
            from ..nn.quantization import quantized_codes  # torch loads only now

            draws = self._latent_draws(n, seed)
            codes = quantized_codes(n, self.n_components_, seed, draws)
        return lambda part, _: codes[part]

    # -- missing cells ------------------------------------------------------------------------
    @available_if(_takes_missing_cells)
    def impute(self, X: ArrayLike, n_draws: int | None = None, random_state: Any = None) -> Any:
        """Fill missing cells; observed cells come back as they are, to the last bit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. What is missing is NaN in arrays, and in frames what is so in their library.
        n_draws : int or None, default=None
            None fills in one estimate given the observed cells of the row: the conditional mean,
            and the most probable label. An integer gives as many tables, whose cells are drawn
            from their joint distribution given the observed ones: multiple imputation (Rubin
            1987).
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        filled : table of shape (n_samples, n_features), or several
            Of the library, index, columns and dtypes of X. With `n_draws` an array of shape
            (n_draws, n_samples, n_features) where X is an array, and a list of frames where it is
            a frame. A column of which training saw no cell stays missing.

        See Also
        --------
        impute_intervals : Where missing cells probably lie.

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
                    "n_draws is for rows in memory: call impute with one table of X at a time."
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
        """Ends of the interval in which each missing cell probably lies, given the observed ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. What is missing is NaN in arrays, and in frames what is so in their library.
        coverage : float, default=0.9
            How probable it is, if the model is right, that the cell lies between the ends, cell by
            cell and not for all of them together.
        n_draws : int, default=200
            Draws of each cell, of which the ends are quantiles; at least
            ``2 / (1 - coverage) - 1``.
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        low, high : tables of shape (n_samples, n_features)
            Of the library, index, columns and dtypes of X. Both hold the observed cells as they
            are. For labels without an order both hold the most frequent label of the draws.

        See Also
        --------
        impute : One estimate, or joint draws.

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
        """The table X, read as `rows`, with its missing cells from those of `whole` (n, d)."""
        if self._is_array_of_numbers(X):
            return whole
        return self._format_.fill(X, whole, np.isnan(rows))

    # -- scores -------------------------------------------------------------------------------
    @takes_sources
    def score_samples(self, X: ArrayLike, *, return_std: bool = False) -> Any:
        """Log-density log p(x) of each row in nats, in the units of X; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        return_std : bool, default=False
            Whether to return the Monte-Carlo standard error of each value too: zero where the
            value is exact, NaN where it is that of a single draw.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            log p(x), float64, the same at every call.
        std : ndarray of shape (n_samples,)
            Only with `return_std`.
        """
        score, std = self._scores(self._check_X(X))
        return (score, std) if return_std else score

    def _scores(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities (n,) of rows, and their standard errors."""

        def scores(part: slice) -> tuple[np.ndarray, np.ndarray]:
            found = self._log_density(X[part], parts=False)
            return found.score, found.std

        score, std = self._in_blocks(scores, len(X))
        return score, std

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
        """Each feature's share E[log p(x_j | z)] of the reconstruction part of the score.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_features)
            Nats; low values show where a row departs from the model. Their sum over features is
            `score_parts(X).reconstruction`.
        """
        rows = self._check_X(X)
        (shares,) = self._in_blocks(
            lambda part: (self._log_density(rows[part], parts=True).reconstruction,), len(rows)
        )
        return shares


def _merged(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows with values in their missing cells."""
    return np.where(np.isnan(rows), values, rows).astype(rows.dtype, copy=False)
