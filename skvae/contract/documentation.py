"""Links from estimators to their pages."""

from __future__ import annotations

SITE = "https://skvae.readthedocs.io/en/stable/"  # the documentation


class LinkedMixin:
    """Where the "?" in the HTML representation leads, for the classes of this package."""

    _doc_link_module = "skvae"
    _doc_link_template = SITE + "api/skvae.{estimator_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"estimator_name": type(self).__name__}
