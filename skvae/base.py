"""The door: scikit-learn's contract over models that see only validated arrays."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import Bunch, check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from .persistence import PersistenceMixin

SITE = "https://skvae.readthedocs.io/en/stable/"  # the documentation

_AUTO_OFFSET_ROWS = 1024  # rows that set an automatic threshold
_LEAST_FRESH_ROWS, _PRIOR_ROWS = 10, 10
_LAW_DRAWS = 4096  # codes that stand for their law
_FENCE = 4.5  # lower half-spreads below the median: about 1 % of chi-square-like scores


class Scores(NamedTuple):
    """Log-densities of ``n`` rows and their parts, in nats and in the units of X."""

    score: np.ndarray  # (n,) log p(x) = reconstruction.sum(1) + latent
    latent: np.ndarray  # (n,) -KL(posterior || prior)
    reconstruction: Any  # (n, d) E_posterior[log p(x_j | z)], or None where not asked for
    std: np.ndarray  # (n,) Monte-Carlo standard error of the score
    effective_sample_size: np.ndarray  # (n,)


def seed_from(random_state: Any) -> int:
    """A seed for one call; ``None`` draws fresh entropy and leaves numpy's global state alone."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, Integral) and 0 <= int(random_state) < 2**32:
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(np.iinfo(np.int32).max))
    raise ValueError(
        "random_state must be None, an integer in [0, 2**32) or a numpy RandomState, got "
        f"{random_state!r}."
    )


class BaseGenerator(PersistenceMixin, BaseEstimator, metaclass=ABCMeta):
    """A model of rows that new rows can be drawn from, as a scikit-learn estimator.

    Every public method validates its input and hands a two-dimensional float array to one of the
    private hooks below, which a subclass implements. A fitted subclass has `n_components_`.
    """

    _parameter_constraints: ClassVar[dict] = {"random_state": ["random_state"]}

    # Where the "?" in the HTML representation leads, for the classes of this package.
    _doc_link_module = "skvae"
    _doc_link_template = SITE + "api/skvae.{estimator_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"estimator_name": type(self).__name__}

    # -- hooks --------------------------------------------------------------------------------
    @abstractmethod
    def _fit(self, X: np.ndarray) -> np.ndarray | None:
        """Learn from rows (n, d), set the fitted attributes; return rows held out, if any."""

    @abstractmethod
    def _decode(self, Z: np.ndarray) -> np.ndarray:
        """Mean rows (n, d) given codes (n, k)."""

    @abstractmethod
    def _draw_codes(self, n: int, seed: int) -> np.ndarray:
        """Codes (n, k) from their law."""

    @abstractmethod
    def _draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        """Rows (n, d) given codes (n, k), with the noise of the decoder."""

    def _finish(self, X: np.ndarray, held_out: np.ndarray | None) -> None:
        """What is left to do after `_fit`."""

    def _check_pairs(self) -> None:
        """Refuse parameters that do not go together."""

    def _validate_params(self) -> None:
        super()._validate_params()
        self._check_pairs()

    # -- the contract -------------------------------------------------------------------------
    def fit(self, X: ArrayLike, y: Any = None) -> BaseGenerator:
        """Learn the model from rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows: real, finite, at least two of them. Learned estimators take images of
            shape (n_samples, channels, height, width) too, here and everywhere: see `image_shape`.
        y : ignored
            Present for scikit-learn's API.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._validate_params()
        goes_on = getattr(self, "warm_start", False) and hasattr(self, "n_components_")
        rows = self._check_training(X, y, first=not goes_on)
        self._finish(rows, self._fit(rows))
        return self

    def _check_training(self, X: ArrayLike, y: Any, first: bool) -> np.ndarray:
        """Training rows (n, d), and what they are conditioned on in columns after the features."""
        X = self._flatten(X, first)
        return validate_data(
            self, X, dtype=[np.float64, np.float32], reset=first, ensure_min_samples=2
        )

    def _flatten(self, X: Any, first: bool = False) -> Any:
        """Images (n, channels, height, width) as rows, for models that know them; else X."""
        return X

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Rows that codes stand for: the mean of the decoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes, as `transform` returns them.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Rows in the units of the training rows.
        """
        return self._decode(self._check_codes(X))

    def _check_codes(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        Z = check_array(X, dtype=[np.float64, np.float32], input_name="X")
        if Z.shape[1] != self._n_codes:
            raise ValueError(
                f"X has {Z.shape[1]} columns, but {type(self).__name__} takes "
                f"{self._n_codes} codes a row."
            )
        return Z

    @property
    def _n_codes(self) -> int:
        """Columns that `inverse_transform` takes."""
        return self.n_components_

    def sample(
        self, n_samples: int = 1, random_state: Any = None, *, noise: bool = True
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

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training rows.
        """
        check_is_fitted(self)
        seed = seed_from(random_state)
        return self._emit(self._draw_codes(count_of(n_samples), seed), seed, noise)

    def _emit(self, Z: np.ndarray, seed: int, noise: bool) -> np.ndarray:
        # another stream than that of the codes
        return self._draw_rows(Z, (seed + 0x9E3779B9) % 2**32) if noise else self._decode(Z)


def count_of(n_samples: Any) -> int:
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 1:
        raise ValueError(f"n_samples must be an integer of at least 1, got {n_samples!r}.")
    return int(n_samples)


class BaseEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseGenerator):
    """A generator with an encoder: codes of rows."""

    @abstractmethod
    def _encode(self, X: np.ndarray) -> np.ndarray:
        """Codes (n, k) of rows (n, d): the posterior mean."""

    def _check_X(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, self._flatten(X), dtype=[np.float64, np.float32], reset=False)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Codes of rows: the posterior mean of z given x.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the units of the training rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Codes, deterministic, of the dtype of X.
        """
        return self._encode(self._check_X(X))

    @property
    def _n_features_out(self) -> int:
        return self._n_codes

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


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

    def _code_law(self, n: int, seed: int) -> np.ndarray | None:
        """None where codes follow N(0, I), else draws that stand for their law."""
        return self._draw_codes(max(_LAW_DRAWS, 20 * n), seed)

    # -- the contract -------------------------------------------------------------------------
    def reconstruct(self, X: ArrayLike) -> np.ndarray:
        """Rows after encoding and decoding, in the units of X."""
        return self._reconstruct(self._check_X(X))

    def reconstruction_error(self, X: ArrayLike) -> np.ndarray:
        """Mean squared difference of each row from its reconstruction, in squared units of X.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Larger is worse. For outliers prefer `score_samples`, which weighs each feature by
            its noise and knows how likely the code itself is.
        """
        X = self._check_X(X)
        return np.mean(np.square(X - self._reconstruct(X), dtype=np.float64), axis=1)

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
            Where codes come from: independent draws of their law; the posterior of given rows `X`,
            draw i from that of row ``i % len(X)``; or codes that together minimise the energy
            distance to their law (Turinici 2022), more diverse than independent draws, the more
            so the fewer code coordinates there are; time and memory grow with the square of
            `n_samples`.
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
        from .quantization import quantized_codes  # torch loads only now

        return quantized_codes(n, self.n_components_, seed, self._code_law(n, seed))

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
        return self._log_density(self._check_X(X), parts=True).reconstruction


class BaseAutoencoder(OutlierMixin, BaseLatentModel):
    """A latent model that tells outliers by their log-density."""

    _parameter_constraints: ClassVar[dict] = {
        **BaseLatentModel._parameter_constraints,
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    def _finish(self, X: np.ndarray, held_out: np.ndarray | None) -> None:
        self._set_offset(X, held_out)

    def _set_offset(self, X: np.ndarray, held_out: np.ndarray | None = None) -> None:
        """Set the threshold; an automatic one lies where rows not trained on are, if there are any.

        A quartile of few rows is rough: their spread counts beside that of `_PRIOR_ROWS` training
        rows.
        """
        if self.contamination != "auto":
            score = self._log_density(X, parts=False).score
            self.offset_ = float(np.percentile(score, 100.0 * self.contamination))
            return
        median, spread = self._median_and_lower_spread(X)
        if held_out is not None and len(held_out) >= _LEAST_FRESH_ROWS:
            share = len(held_out) / (len(held_out) + _PRIOR_ROWS)
            median, fresh = self._median_and_lower_spread(held_out)
            spread += share * (fresh - spread)
        self.offset_ = float(median - _FENCE * spread)

    def _median_and_lower_spread(self, X: np.ndarray) -> tuple[float, float]:
        rows = X[:: -(-len(X) // _AUTO_OFFSET_ROWS)]  # a view
        score = self._log_density(rows, parts=False).score
        score = score[~np.isneginf(score)]  # a density of codes may have an end
        if not len(score):
            raise ValueError("the density of the codes gives all rows probability 0: widen it.")
        low, median = np.percentile(score, [25, 50])
        return median, median - low

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """`score_samples` less the threshold `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """+1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)
