"""A parameter that has a new name: the old one works, with a warning, until it goes."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils.validation import validate_data

from skvae.contract.deprecation import renamed_parameter


class Scaled(TransformerMixin, BaseEstimator):
    """Rows times a factor, which was once called `scale`."""

    def __init__(self, factor=2.0, scale="deprecated"):
        self.factor = factor
        self.scale = scale

    def fit(self, X, y=None):
        self.factor_ = renamed_parameter(self, "scale", "factor", "0.3")
        validate_data(self, X)
        return self

    def transform(self, X):
        return self.factor_ * validate_data(self, X, reset=False)


X = np.arange(6.0).reshape(3, 2)


def test_the_new_name_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(Scaled(factor=3.0).fit_transform(X), 3 * X)
        assert_array_equal(Scaled().fit_transform(X), 2 * X)


def test_the_old_name_works_and_warns():
    message = "scale of Scaled is now called factor; scale will be removed in skvae 0.3"
    with pytest.warns(FutureWarning, match=message) as caught:
        assert_array_equal(Scaled(scale=3.0).fit_transform(X), 3 * X)
    assert len(caught) == 1
    model = clone(Scaled(scale=3.0))
    assert model.get_params() == {"factor": 2.0, "scale": 3.0}
    with pytest.warns(FutureWarning):
        assert pickle.loads(pickle.dumps(Scaled(scale=3.0))).fit(X).factor_ == 3.0
    for params in ParameterGrid({"scale": [1.0, 5.0]}):
        with pytest.warns(FutureWarning):
            assert Scaled().set_params(**params).fit(X).factor_ == params["scale"]


def test_both_names_are_an_error():
    with pytest.raises(ValueError, match=r"both scale=3\.0 and factor=4\.0.*set only factor"):
        Scaled(factor=4.0, scale=3.0).fit(X)
