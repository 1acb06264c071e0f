"""Links from estimators to their pages in the documentation."""

from __future__ import annotations

SITE = "https://skvae.readthedocs.io/en/stable/"  # URL of the documentation


class LinkedMixin:
    """Mixin with the link of the "?" in the HTML representation of estimators."""

    _doc_link_module = "skvae"
    _doc_link_template = SITE + "api/skvae.{estimator_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"estimator_name": type(self).__name__}
