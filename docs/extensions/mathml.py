"""Formulas as MathML, written by docutils: no script, no fonts, nothing from a network."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

# What docutils' converter does not read as TeX does: \frac12, \frac k2, \dots, a stretched bar.
SHORT_FRACTION = re.compile(r"(\\[td]?frac)\s*([A-Za-z0-9])\s*(?:([A-Za-z0-9])|(?={))")
FUNCTION = re.compile(
    r'<mi(?: mathvariant="normal")?>(log|exp|sin|cos|tan|det|diag|tr)</mi>'
    r"\s*<mo>(?:&ApplyFunction;|\u2061)</mo>"
)
BAR = re.compile(r'<mo(?: stretchy="false"| class="mathopen"| class="mathclose")?>\|</mo>')
SPACED = r'<mo form="prefix" lspace="0.17em" rspace="0.17em">\1</mo>'


def _braced(match: re.Match) -> str:
    return f"{match[1]}{{{match[2]}}}" + (f"{{{match[3]}}}" if match[3] else "")


def _mathml(self, node: nodes.Element, display: bool) -> str:
    tex = SHORT_FRACTION.sub(_braced, node.astext().strip())
    tex = tex.replace("\\dots", "\\ldots").replace("\\Vert", "\\parallel")
    try:
        mathml = FUNCTION.sub(SPACED, latex2mathml.tex2mathml(tex, as_block=display))
        return BAR.sub('<mo stretchy="false" lspace="0" rspace="0">|</mo>', mathml)
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
