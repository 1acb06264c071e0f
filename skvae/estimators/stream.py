"""Training on chunks of data, with lazily computed fitted attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import ArrayLike
from sklearn.base import clone

from ..contract.generator import BaseGenerator
from ..engine.fit import LEAST_FOR_DENSITY, Fitted, Recipe, finalise_chunk
from ..tables.source import ArraySource, RowSource

_ROWS = 16_384  # rows of a chunk kept for the lazy attributes


@dataclass(frozen=True)
class Pending:
    """State of an estimator after a chunk, before its lazy attributes are computed.

    Noise, latent density and threshold follow from the weights and the latest rows. They are
    computed on first access, and not after every chunk.

    Attributes
    ----------
    state : dict
        The estimator's attributes after the chunk, its parameters among them.
    rows : RowSource
        Rows of the latest chunk, or a subset if there are many.
    """

    state: dict[str, Any]
    rows: RowSource

    @property
    def fitted(self) -> Fitted:
        found: Fitted = self.state["_fitted_"]
        return found


class StreamMixin(BaseGenerator):
    """`partial_fit` of estimators trained by gradient descent."""

    # Attributes that are computed lazily after a chunk, including those set by `_finish`.
    _deferred: ClassVar[frozenset[str]] = frozenset(
        (
            "_fitted_ _predictor_ active_units_ latent_density_ offset_ calibration_scores_ "
            "_is_calibrated_ _cell_scores_"
        ).split()
    )
    _pending_: Pending

    if TYPE_CHECKING:

        def _recipe(self, first: bool) -> Recipe: ...
        def _attributes(self, fitted: Fitted) -> dict[str, Any]: ...

    else:  # hidden from type checkers, so that they report misspelt names

        def __getattr__(self, name: str) -> Any:
            while name in type(self)._deferred and "_pending_" in vars(self):
                self._finalise_pending()
            return object.__getattribute__(self, name)

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train for one further epoch on a batch of rows, at a constant learning rate.

        The first call fixes the scaling of the features, the number of components and, if the
        network has a linear skip connection, its initialisation. The noise of the decoder, the
        latent density (with at least 50 rows) and `offset_` follow the rows of the latest
        call. They are computed on first access, and errors of their computation are raised then. A
        density that has a `partial_fit` itself is updated in every call.

        In later calls, values farther than 30 robust standard deviations (1.48 times the median
        absolute deviation) from the median of their column are clipped to this distance. The
        standard deviation is that of the column in these rows or in those of the first call,
        whichever is larger. If training increases the loss of (at most 256 of) the rows by more
        than a tenth and by more than one nat, it is repeated with half the learning rate, up to six
        times. After that a FloatingPointError is raised, and the model is left unchanged. For `GAN`
        and `InfoGAN` the loss only has to be finite.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        self._check_asked()
        return self._learn_aside(X, y, goes_on=True, further_chunk=True)

    def _defer(self, source: RowSource) -> None:
        """Defer everything that follows from the new weights to `_finalise_pending`."""
        rows = source.some(_ROWS).copy()
        state = {k: v for k, v in vars(self).items() if k != "_predictor_"}
        for name in self._get_param_names():  # copies, since users may change these in place
            if hasattr(state[name], "get_params") and not isinstance(state[name], type):
                state[name] = clone(state[name])
        for name in self._deferred:
            vars(self).pop(name, None)
        self._pending_ = Pending(state, ArraySource(rows.values, rows.context, rows.observed))

    def _resume(self, n_rows: float) -> None:
        """Continue from the weights with so many rows, discarding pending computations.

        Few rows do not update the latent density, which therefore has to be computed first.
        """
        pending: Pending | None = vars(self).get("_pending_")
        if pending is None:
            return
        if n_rows < LEAST_FOR_DENSITY <= pending.rows.n_rows:
            self._finalise_pending()
            return
        del self._pending_
        self._fitted_ = pending.fitted

    def _finalise_pending(self) -> None:
        """Compute the deferred attributes, if any."""
        own = vars(self)  # the current state: another thread may train on a further chunk
        pending: Pending | None = own.get("_pending_")
        if pending is None:
            return
        aside = object.__new__(type(self))
        vars(aside).update(pending.state)
        fitted = finalise_chunk(aside._recipe(first=False), pending.fitted, pending.rows)
        vars(aside).pop("latent_density_", None)
        vars(aside).update(aside._attributes(fitted))
        aside._finish(pending.rows)
        old, new, deferred = pending.state, vars(aside), self._deferred
        found = {k: v for k, v in new.items() if k in deferred or v is not old.get(k)}
        own.update(found)  # before the next line, for other threads
        own.pop("_pending_", None)
