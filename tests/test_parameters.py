"""Parameters: explicit, few, and one name with one meaning, across all estimators."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict

import numpy as np
import pytest
from contracts import estimator_classes, is_trained

import skvae
from skvae import NetworkOptions, TrainingOptions
from skvae.contract.learner import BaseLearner

CLASSES = estimator_classes(BaseLearner)
LEARNED = [cls for cls in CLASSES if is_trained(cls())]
# What a name means for PPCA, which no network fits, is its own.
OWN_OF_PPCA = {"n_components", "max_iter", "contamination", "random_state"}
# Those of the detector, whose network is no autoencoder.
OWN_OF_DETECTOR = {"hidden_layer_sizes", "learning_rate_init", "batch_size", "max_iter"}
# The only defaults that differ: how often critics are trained, and how strong a distance is.
OTHER_DEFAULTS = {
    ("critic_steps", "GAN"),
    ("critic_steps", "FlexAE"),
    ("critic_steps", "MaskAAE"),
} | {
    ("divergence_weight", "InfoVAE"),
    ("information_weight", "InfoVAE"),
    ("encoder_rate", "FlexAE"),
}
# Names that several methods have, each described in the words of its own formula.
IN_OWN_WORDS = {
    *("critic_steps", "divergence_weight", "information_weight", "encoder_rate"),
    *("kernel", "loss", "gradient_penalty"),
}
each = pytest.mark.parametrize("cls", [*CLASSES, NetworkOptions, TrainingOptions])


def parameters(cls):
    return {n: p for n, p in inspect.signature(cls.__init__).parameters.items() if n != "self"}


def entries(cls) -> dict[str, str]:
    """What the docstring says of each parameter, by name; the first line with the type."""
    text = inspect.cleandoc(cls.__doc__)
    section = re.search(r"^Parameters\n-+\n(.*?)\n\n(?=\w+[^\n]*\n-+\n)", text, re.S | re.M).group(
        1
    )
    found = {}
    for entry in re.split(r"\n(?=\w)", section):
        names = entry.partition(" : ")[0].split(",")
        found |= {name.strip(): entry for name in names}
    return found


@each
def test_signatures_are_explicit(cls):
    """Written out in the file of the class, keyword-only but the first, with types."""
    assert "__init__" in vars(cls)
    found = parameters(cls)
    kinds = [p.kind for p in found.values()]
    first = cls not in (NetworkOptions, TrainingOptions)
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds[first:])
    assert all(p.annotation is not inspect.Parameter.empty for p in found.values())
    assert all(p.default is not inspect.Parameter.empty for p in found.values())
    assert set(found) == set(cls().get_params(deep=False))
    assert len(found) <= 30


@each
def test_every_parameter_is_documented_in_order(cls):
    described = entries(cls)
    assert list(described) == list(parameters(cls))
    for name, p in parameters(cls).items():
        head = described[name].splitlines()[0]
        assert "default" in head, f"{cls.__name__}.{name}: {head}"
        if head.count(",") < 2 and "," not in head.partition(" : ")[0]:
            stated = head.rpartition("default=")[2]
            if isinstance(p.default, str):
                assert stated == f'"{p.default}"', head
            elif isinstance(p.default, int | float) and not isinstance(p.default, bool):
                assert np.isclose(float(stated), p.default), head
            else:
                assert stated == str(p.default), head


def test_shared_parameters_are_the_same_everywhere():
    seen = defaultdict(list)
    for cls in CLASSES:
        for name, p in parameters(cls).items():
            if cls is skvae.PPCA and name in OWN_OF_PPCA:
                continue
            if cls is skvae.DenoisingDetector and name in OWN_OF_DETECTOR:
                continue
            seen[name].append((cls, p, entries(cls)[name]))
    shared = {name: found for name, found in seen.items() if len(found) > 1}
    assert len(shared) > 25
    for name, found in shared.items():
        first = found[0]
        for cls, p, text in found[1:]:
            where = f"{name} of {cls.__name__} and {first[0].__name__}"
            assert p.annotation == first[1].annotation, where
            if name not in IN_OWN_WORDS:
                assert text == first[2], where
        usual = [p.default for cls, p, _ in found if (name, cls.__name__) not in OTHER_DEFAULTS]
        assert len(set(map(repr, usual))) == 1, f"{name}: {usual}"


def test_parameters_stand_in_one_order():
    """Those that two estimators share come in the same order in both."""
    for one in LEARNED:
        for other in LEARNED:
            shared = [n for n in parameters(one) if n in parameters(other)]
            theirs = [n for n in parameters(other) if n in parameters(one)]
            own = IN_OWN_WORDS
            assert [n for n in shared if n not in own] == [n for n in theirs if n not in own]


def test_no_setting_is_both_a_parameter_and_an_option():
    options = set(NetworkOptions().get_params()) | set(TrainingOptions().get_params())
    for cls in LEARNED:
        assert not options & set(parameters(cls))
