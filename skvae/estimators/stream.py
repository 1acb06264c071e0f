"""Learning chunk by chunk, where what users see of a model is computed when they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import ArrayLike
from sklearn.base import clone

from ..contract.generator import BaseGenerator
from ..engine.fit import LEAST_FOR_DENSITY, Fitted, Recipe, finalise_chunk
from ..tables.source import ArraySource, RowSource

_ROWS = 16_384  # of a chunk that are kept until somebody looks


@dataclass(frozen=True)
class Pending:
    """An estimator after a chunk, before what its users see of it is computed.

    Noise, density of codes and threshold follow from the weights and the latest rows. A stream
    would compute them for every chunk, though nobody may look.

    Attributes
    ----------
    state : dict
        The estimator's attributes after the chunk, its parameters among them.
    rows : RowSource
        Of the latest chunk, some of them where there are many.
    """

    state: dict[str, Any]
    rows: RowSource

    @property
    def fitted(self) -> Fitted:
        found: Fitted = self.state["_fitted_"]
        return found


class StreamMixin(BaseGenerator):
    """`partial_fit` of estimators that are trained by descent."""

    # Attributes that a chunk leaves to be computed later; to these belongs what `_finish` sets.
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

    else:  # to a type checker a slip in a name is to stay one

        def __getattr__(self, name: str) -> Any:
            while name in type(self)._deferred and "_pending_" in vars(self):
                self._finalise_pending()
            return object.__getattribute__(self, name)

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train for one epoch on these rows at a constant rate, going on from where it stands.

        The first call fixes the scaling of the features, the number of components and, where the
        network has one, the linear start, from its own rows. The noise of the decoder, the density
        of the codes (with at least 50 rows) and `offset_`, where there are such, follow the latest
        rows; they are computed when they are first asked for, and raise their errors then. A
        density that has `partial_fit` itself goes on with every call.

        In later calls a cell further than 30 spreads from the median of its column counts as that
        far away, where a spread is the column's in these rows or in the first ones, whichever is
        larger. Where training raises the loss of (256 of) the rows by more than a tenth, and by
        more than a nat, it is done again at half the learning rate, six times at most; then it
        raises FloatingPointError, and the model stays as it was. Of `GAN` and `InfoGAN` the loss
        has to be finite only.

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
        """Leave what follows from the weights, just trained, to `_finalise_pending`."""
        rows = source.some(_ROWS).copy()
        state = {k: v for k, v in vars(self).items() if k != "_predictor_"}
        for name in self._get_param_names():  # what users may change in place is that of the chunk
            if hasattr(state[name], "get_params") and not isinstance(state[name], type):
                state[name] = clone(state[name])
        for name in self._deferred:
            vars(self).pop(name, None)
        self._pending_ = Pending(state, ArraySource(rows.values, rows.context, rows.observed))

    def _resume(self, n_rows: float) -> None:
        """Go on from the weights with so many rows, whatever is still to be computed.

        Few rows leave the density of the codes as it is, so it has to be there.
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
        """Compute what was left, if anything was."""
        own = vars(self)  # of now: another thread may learn a further chunk
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
        own.update(found)  # before the next, for other threads
        own.pop("_pending_", None)
