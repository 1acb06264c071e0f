"""Formulas as MathML, written by docutils: no script, no fonts, nothing from a network."""

from __future__ import annotations

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def _mathml(self, node: nodes.Element, display: bool) -> str:
    tex = node.astext().strip()
    try:
        return latex2mathml.tex2mathml(tex, as_block=display)
    except MathError as error:
        LOGGER.warning("formula %r: %s", tex, error, location=node)
        return f"<code>{self.encode(tex)}</code>"


def visit_math(self, node: nodes.math) -> None:
    """Inline formulas."""
    self.body.append(_mathml(self, node, display=False))
    raise nodes.SkipNode


def visit_math_block(self, node: nodes.math_block) -> None:
    """Formulas on lines of their own; wide ones scroll."""
    self.body.append('<div class="math-display" tabindex="0">')
    self.body.append(_mathml(self, node, display=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Sphinx's entry."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
