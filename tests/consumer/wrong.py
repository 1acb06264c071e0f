"""Slips of a user. Both type checkers have to reject each: names of pyright's and mypy's rules."""

import numpy as np

import skvae
from skvae import VAE
from skvae import load_nothing  # expect: reportAttributeAccessIssue attr-defined

X = np.random.default_rng(0).normal(size=(100, 5))
VAE(2, bta=3.0)  # expect: reportCallIssue call-arg
VAE(2).fit(X).transfrm(X)  # expect: reportAttributeAccessIssue attr-defined
text: str = VAE(2).fit(X).transform(X)  # expect: reportAssignmentType assignment
skvae.datasets.load_nothing  # expect: reportAttributeAccessIssue attr-defined
skvae.VEA(2)  # expect: reportAttributeAccessIssue attr-defined
print(load_nothing)
