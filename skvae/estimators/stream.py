"""Learning chunk by chunk, where what users see of a model is computed when they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike

from ..contract.generator import BaseGenerator
from ..engine.fit import Fitted, Recipe, settle
from ..tables.source import ArraySource, RowSource

_ROWS = 16_384  # of a chunk that are kept until somebody looks
_PUT_OFF = frozenset(
    "_fitted_ _predictor_ active_units_ latent_density_ offset_ _cell_scores_".split()
)


@dataclass(frozen=True)
class Unsettled:
    """An estimator after a chunk, before what users see of it is computed.

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

    _unsettled_: Unsettled

    if TYPE_CHECKING:

        def _recipe(self, first: bool) -> Recipe: ...
        def _attributes(self, fitted: Fitted) -> dict[str, Any]: ...

    else:  # to a type checker a slip in a name is to stay one

        def __getattr__(self, name: str) -> Any:
            if name in _PUT_OFF:
                self._settle()
            return object.__getattribute__(self, name)

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train for one epoch on these rows at a constant rate, going on from where it stands.

        The first call fixes the scaling of the features, the number of components and, where the
        network has one, the linear start, from its own rows. The noise of the decoder, the density
        of the codes (with at least 50 rows) and `offset_`, where there are such, follow the latest
        rows; they are computed when they are first asked for.

        In later calls a cell further than 30 spreads from the median of its column counts as that
        far away, where a spread is the column's in these rows or in the first ones, whichever is
        larger. Where training raises the loss of the rows by more than a tenth, it is done again at
        half the learning rate, six times at most; then it raises FloatingPointError, and the model
        stays as it was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        self._validate_params()
        return self._learn_aside(X, y, goes_on=True, further_chunk=True)

    def _put_off(self, source: RowSource) -> None:
        """Leave what follows from the weights, just trained, to `_settle`."""
        rows = source.some(_ROWS).copy()
        latest = ArraySource(rows.values, rows.context, rows.observed)
        state = {k: v for k, v in vars(self).items() if k != "_predictor_"}
        for name in _PUT_OFF:
            vars(self).pop(name, None)
        self._unsettled_ = Unsettled(state, latest)

    def _take_up(self) -> None:
        """Go on from the weights, whether they are settled or not."""
        last: Unsettled | None = vars(self).pop("_unsettled_", None)
        if last is not None:
            self._fitted_ = last.fitted

    def _settle(self) -> None:
        """Compute what was put off, if anything was."""
        last: Unsettled | None = vars(self).get("_unsettled_")
        if last is None:
            return
        aside = object.__new__(type(self))
        vars(aside).update(last.state)
        fitted = settle(aside._recipe(first=False), last.fitted, last.rows)
        vars(aside).pop("latent_density_", None)
        vars(aside).update(aside._attributes(fitted))
        aside._finish(last.rows, None)
        # in this order, for other threads
        vars(self).update({k: v for k, v in vars(aside).items() if k in _PUT_OFF})
        vars(self).pop("_unsettled_", None)
