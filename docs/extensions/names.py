"""Public names of skvae, where each has its page, and the groups of the reference.

Everything is read from the package, so a new name finds its page by itself. No Sphinx here:
`check_site.py` and the tests import this file too.
"""

from __future__ import annotations

import importlib
import inspect
from importlib.util import find_spec
from typing import NamedTuple

PARTS = ("displays", "datasets", "sources", "dask")  # public modules beside the package itself

KINDS = {
    "Linear": "PPCA",
    "Variational": "VAE ConditionalVAE FactorVAE InfoVAE TwoStageVAE",
    "Codes held to a law": "HuberEnergyVAE WassersteinAE AdversarialAE MaskAAE FlexAE",
    "Deterministic, with a density of codes": (
        "Autoencoder DenoisingAE ContractiveAE SparseAE RAE InjectiveFlowAE"
    ),
    "Generators without an encoder of rows": "GAN InfoGAN",
    "Detectors without a density": "DenoisingDetector",
}
MORE = "Other estimators"
HOMES = {  # where the code lives, and the group that stands for it
    "metrics.codes": "Codes",
    "metrics.synthetic": "Scores of synthetic tables",
    "metrics": "Scores of samples",
    "latent": "Codes",
    "contract.persistence": "Persistence",
    "estimators.options": "Options",
    "displays": "Displays",
    "datasets": "Data sets",
    "sources": "Rows that do not fit memory",
    "dask": "Clusters",
}
REST = "Other functions"
TITLES = (
    *KINDS,
    MORE,
    "Options",
    "Scores of samples",
    "Scores of synthetic tables",
    "Codes",
    "Persistence",
    "Displays",
    "Data sets",
    "Rows that do not fit memory",
    "Clusters",
    REST,
)


class Name(NamedTuple):
    """A public name: ``module.name``, its object and its group."""

    module: str
    name: str
    thing: object
    group: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def page(self) -> str:
        """The page's name below the root of the site, without its suffix."""
        return f"api/{self.full}"


def _group(module: str, name: str, thing: object) -> str:
    home = f"{thing.__module__}.".removeprefix("skvae.")
    part = f"{module}.".removeprefix("skvae.")
    found = [group for start, group in HOMES.items() if (part + home).startswith(f"{start}.")]
    if not found and home.startswith("estimators."):
        found = [kind for kind, names in KINDS.items() if name in names.split()] or [MORE]
    return found[0] if found else REST


def public_names() -> list[Name]:
    """All classes and functions of `skvae.__all__` and of its public modules, each once."""
    modules = ["skvae", *(f"skvae.{part}" for part in PARTS if find_spec(f"skvae.{part}"))]
    found, seen = [], set()
    for module in modules:
        public = importlib.import_module(module).__all__
        for name in (*public, "load") if module == "skvae" else public:
            thing = getattr(importlib.import_module(module), name)
            is_new = (inspect.isclass(thing) or inspect.isfunction(thing)) and id(thing) not in seen
            if name.startswith("_") or not is_new:
                continue
            seen.add(id(thing))
            found.append(Name(module, name, thing, _group(module, name, thing)))
    return found


def grouped() -> dict[str, list[Name]]:
    """Groups that are not empty, in the order of the reference, kinds in the order above."""
    order = " ".join(KINDS.values()).split()
    names = sorted(
        public_names(),
        key=lambda n: order.index(n.name) if n.name in order else len(order),
    )
    groups = {title: [n for n in names if n.group == title] for title in TITLES}
    return {title: members for title, members in groups.items() if members}


_FIRST = """fit partial_fit fit_transform fit_predict transform inverse_transform reconstruct
    reconstruction_error posterior sample score score_samples score_parts score_features predict
    predict_proba decision_function from_estimator from_predictions plot save""".split()


def methods(cls: type) -> list[str]:
    """Public methods, inherited ones too, without those of scikit-learn's metadata routing."""
    found = [
        name
        for name in dir(cls)
        if not name.startswith("_")
        and callable(getattr(cls, name))
        and not (name.startswith("set_") and name.endswith("_request"))
        and name != "get_metadata_routing"
    ]
    first = [name for name in _FIRST if name in found]
    return first + sorted(set(found) - set(first))
