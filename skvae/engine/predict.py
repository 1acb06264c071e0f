"""Application of a fitted model to arrays, in chunks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..nn.batch import Batch
from ..nn.conditional import weighted_codes
from ..nn.distributions import normal_points
from ..nn.marginal_likelihood import log_density, posterior_moments
from ..nn.model import CHUNK, Model
from ..tables.schema import FARTHEST
from ..tables.source import Rows, RowSource
from .fit import Fitted

_CHUNK_NUMBERS = 1 << 21  # numbers in the largest layer when scoring
_CODES = 400  # samples of the code of a row with missing values

Outputs = tuple[Tensor, ...]


class LogDensities(NamedTuple):
    """Estimates of log p(x) of n rows, in nats and in the units of the columns.

    No value is NaN. Extreme rows whose numbers overflow have density 0.
    """

    score: np.ndarray  # (n,)
    latent: np.ndarray | None  # (n,)
    reconstruction: np.ndarray | None  # (n, d)
    std: np.ndarray  # (n,)
    effective_sample_size: np.ndarray  # (n,)


class Predictor:
    """Fitted model with its schema, applied to rows.

    Rows are processed in their own dtype, and in smaller chunks if memory is exhausted. Inputs of
    networks are clipped at `FARTHEST` scales; rows with clipped values have density 0.

    Parameters
    ----------
    fitted : Fitted
    """

    def __init__(self, fitted: Fitted):
        self.fitted = fitted
        self._double: Model | None = None
        self._seen: list[tuple[int, int]] = []  # of the weights that it is a copy of

    def model(self, dtype: torch.dtype) -> Model:
        """Return the model in a dtype."""
        if dtype == torch.float32:
            return self.fitted.model
        weights = self.fitted.model.state_dict(keep_vars=True).values()
        now = [(t.data_ptr(), t._version) for t in weights]
        double = self._double
        if double is None or now != self._seen:  # a user may have trained on
            double = copy.deepcopy(self.fitted.model).to(dtype)
            self._double, self._seen = double, now  # in this order, for other threads
        return double

    # -- chunks -----------------------------------------------------------------------------------
    def on_rows(
        self, function: Callable[[Model, Batch, Rows], Outputs], source: RowSource, chunk: int
    ) -> list[np.ndarray]:
        """Return the outputs of ``function(model, batch, rows)`` for all rows."""
        schema, device = self.fitted.schema, self.fitted.device

        def run(part: slice) -> Outputs:
            rows = source.take(part)
            batch = schema.encode(rows, device=device)
            return function(self.model(batch.x.dtype), batch._replace(row_index=None), rows)

        return _in_chunks(run, source.n_rows, chunk)

    def on_codes(
        self, function: Callable[[Model, Tensor], Outputs], Z: np.ndarray
    ) -> list[np.ndarray]:
        """Return the outputs of ``function(model, codes)`` for all codes with appended contexts."""

        def run(part: slice) -> Outputs:
            z = torch.tensor(Z[part], device=self.fitted.device)
            z = z.clamp_(-FARTHEST[z.dtype], FARTHEST[z.dtype])
            return function(self.model(z.dtype), z)

        return _in_chunks(run, len(Z), self.fitted.model.chunk)

    def _scoring_chunk(self, copies: int) -> int:
        model, spec = self.fitted.model, self.fitted.spec
        numbers = model.latent.numbers
        width = max(spec.n_features, *spec.hidden, numbers, model.widest)
        return max(1, min(CHUNK, _CHUNK_NUMBERS // (width * copies)))

    # -- what it says -----------------------------------------------------------------------------
    def encode(self, source: RowSource) -> np.ndarray:
        """Return codes (n, k): the posterior mean."""
        (Z,) = self.on_rows(lambda m, b, _: (m.encode(b).mean,), source, self.fitted.model.chunk)
        return _finite(Z)

    def posterior(self, source: RowSource) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (n, k) of the codes."""
        chunk = self._scoring_chunk(self.fitted.spec.n_components + 1)
        mean, std = self.on_rows(lambda m, b, _: posterior_moments(m, b), source, chunk)
        return _finite(mean), std

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Return mean rows of codes, with the context, if any, in further columns."""
        (x,) = self.on_codes(lambda m, z: (_number(m.decode(z).mean),), Z)
        return self._in_units(x, Z.dtype)

    def draw_rows(self, Z: np.ndarray, seed: int) -> np.ndarray:
        """Sample rows given codes, with the noise of the decoder."""
        rng = torch.Generator(self.fitted.device).manual_seed(seed)
        (x,) = self.on_codes(lambda m, z: (_number(m.decode(z).sample(rng)),), Z)
        X = self._in_units(x, Z.dtype)
        schema, likelihood = self.fitted.schema, self.fitted.model.likelihood
        if not schema.layout.starts:
            whole = likelihood.integral_by_feature.numpy()
            X[:, whole] = np.rint(X[:, whole])
        return schema.settle(X)

    def _in_units(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return rows (n, d) in the units of the columns, clipped to the range of the dtype."""
        X, most = self.fitted.schema.decode(x), np.finfo(dtype).max
        return np.clip(X, -most, most, out=X).astype(dtype, copy=False)

    def draw_codes(self, n: int, seed: int) -> np.ndarray:
        """Sample codes (n, k), float64, from the latent distribution."""
        rng = torch.Generator(self.fitted.device).manual_seed(seed)
        model = self.model(torch.float64)
        sizes = [min(CHUNK, n - i) for i in range(0, n, CHUNK)]
        with torch.no_grad():
            drawn = [model.latent.sample(size, rng, model).cpu().numpy() for size in sizes]
        return np.concatenate(drawn)

    def score(self, source: RowSource, n_draws: int, parts: bool) -> LogDensities:
        """Estimate log p(x) of observed values with `n_draws` importance samples."""
        k = self.fitted.spec.n_components
        points = normal_points(n_draws, k, torch.float64)

        def estimate(m: Model, batch: Batch, rows: Rows) -> Outputs:
            found = log_density(m, batch, points.to(batch.x), parts)
            volume = self._log_volume(rows)
            far = batch.x.abs() >= FARTHEST[batch.x.dtype]
            score = _never_nan(found.score.double() - volume.sum(-1))
            score = score.masked_fill_(far.any(-1), -math.inf)
            errors = (found.std.double(), found.effective_sample_size.double())
            if found.reconstruction is None or found.latent is None:
                return score, *errors
            each = found.reconstruction.double().masked_fill_(far, -math.inf)
            each = torch.from_numpy(self.fitted.schema.by_column(each.cpu().numpy())).to(volume)
            # infinity minus infinity if the reconstruction term has density 0
            latent = found.latent.double().nan_to_num_(0.0, math.inf, -math.inf)
            return score, latent, _never_nan(each - volume), *errors

        copies = max(n_draws, 1 + k)
        out = self.on_rows(estimate, source, self._scoring_chunk(copies))
        if parts:
            return LogDensities(*out)
        score, std, size = out
        return LogDensities(score, None, None, std, size)

    def _log_volume(self, rows: Rows) -> Tensor:
        """Return `Schema.log_volume`, 0 for columns whose log p is not a density."""
        schema = self.fitted.schema
        each = torch.from_numpy(schema.log_volume(rows))
        if not schema.layout.starts:
            each = each * self.fitted.model.likelihood.density_by_feature.cpu()
        return each.to(self.fitted.device)

    # -- missing cells ----------------------------------------------------------------------------
    def complete(self, source: RowSource) -> np.ndarray:
        """Impute the mean given the observed values, or the most probable label.

        The mean is over codes given the observed values; NaN for columns without values in
        training.
        """

        def means(m: Model, batch: Batch, _: Rows) -> Outputs:
            rng = torch.Generator(batch.x.device).manual_seed(0)
            codes = weighted_codes(m, batch, _CODES, rng)
            n, size, k = codes.z.shape
            mean = m.decode(codes.z.reshape(-1, k), _repeated(batch.context, size)).mean
            return (torch.einsum("nl,nlw->nw", codes.weight, mean.reshape(n, size, -1)),)

        return self._filled(source, lambda rows: self.on_rows(means, rows, self._code_chunk())[0])

    def draw_missing(self, source: RowSource, n_draws: int, seed: int) -> np.ndarray:
        """Sample missing values jointly given the observed ones, as rows (n_draws, n, d)."""
        rng = torch.Generator(self.fitted.device).manual_seed(seed)

        def draws(m: Model, batch: Batch, _: Rows) -> Outputs:
            codes = weighted_codes(m, batch, max(_CODES, 2 * n_draws), rng).resample(n_draws, rng)
            n, size, k = codes.shape
            p = m.decode(codes.reshape(-1, k), _repeated(batch.context, size))
            return (p.sample(rng).reshape(n, size, -1),)

        chunk = max(1, self._code_chunk() * _CODES // max(_CODES, 2 * n_draws))

        def settled(rows: RowSource) -> np.ndarray:
            (x,) = self.on_rows(draws, rows, chunk)
            cells = self._in_units(x.reshape(-1, x.shape[-1]), rows.dtype)
            return self.fitted.schema.settle(cells).reshape(*x.shape[:2], -1)

        return self._filled(source, settled, n_draws)

    def _code_chunk(self) -> int:
        return self._scoring_chunk(_CODES)

    def _filled(
        self,
        source: RowSource,
        fill: Callable[[RowSource], np.ndarray],
        n_draws: int | None = None,
    ) -> np.ndarray:
        """Return rows, or several copies, with missing values computed by `fill`."""
        rows = source.take(slice(None))
        filled = rows.values.copy() if n_draws is None else np.stack([rows.values] * n_draws)
        if rows.observed is None:
            return filled
        holed = np.flatnonzero(~rows.observed.all(1))
        found = fill(source.subset(holed))
        if n_draws is None:
            found = self._in_units(found, rows.values.dtype)
            filled[holed] = np.where(rows.observed[holed], filled[holed], found)
        else:
            found = np.moveaxis(found, 1, 0)
            filled[:, holed] = np.where(rows.observed[holed], filled[:, holed], found)
        return filled


def _repeated(context: Tensor | None, n: int) -> Tensor | None:
    """Return contexts of rows, repeated n times."""
    return None if context is None else context.repeat_interleave(n, 0)


def _finite(codes: np.ndarray) -> np.ndarray:
    """Return codes, or raise an error if a custom encoder overflows."""
    bad = ~np.isfinite(codes).all(axis=1)
    if bad.any():
        raise ValueError(
            f"the encoder returns codes that are not finite for {bad.sum()} rows of X, first for "
            f"row {bad.argmax()}: drop these rows, or bound the outputs of the encoder."
        )
    return codes


def _number(x: Tensor) -> Tensor:
    """Return outputs of the decoder, or raise an error if a custom decoder returns NaN."""
    if x.isnan().any():
        raise ValueError("the decoder returns NaN for some codes: bound its outputs.")
    return x


def _never_nan(log_density: Tensor) -> Tensor:
    """Replace NaN by -inf in log-densities."""
    return log_density.nan_to_num_(-math.inf, math.inf, -math.inf)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in str(error)  # message of torch on the CPU
    )


def _in_chunks(run: Callable[[slice], Sequence[Tensor]], n: int, chunk: int) -> list[np.ndarray]:
    """Return the outputs of `run` for all of n rows, computed in chunks.

    Chunks are halved if memory is exhausted.
    """
    found: list[np.ndarray] = []
    i = 0
    while i < n:
        part = slice(i, min(i + chunk, n))
        try:
            with torch.no_grad():
                out = [t.cpu().numpy() for t in run(part)]
        except (RuntimeError, MemoryError) as error:
            size = part.stop - part.start
            if size == 1 or not is_out_of_memory(error):
                raise
            chunk = -(-size // 2)
            continue
        if not found:
            found = [np.empty((n, *a.shape[1:]), a.dtype) for a in out]
        for whole, a in zip(found, out, strict=True):
            whole[part] = a
        i = part.stop
    return found
