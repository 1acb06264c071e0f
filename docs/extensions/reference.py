"""One page for each public name, and links from names in text to those pages."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import inventories
import names
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

AUTHOR = re.compile(r"[A-Z][\w-]*\. ")
LITERAL = re.compile(r"(?:skvae\.)?([\w.]+)(?:\(.*\))?", re.DOTALL)


def _heading(text: str, mark: str) -> str:
    return f"{text}\n{mark * len(text)}\n\n"


def _page(name: names.Name, examples: dict) -> str:
    text = _heading(name.name, "=") + f".. currentmodule:: {name.module}\n\n"
    if inspect.isclass(name.thing):
        found = names.methods(name.thing)
        text += f".. autoclass:: {name.name}\n\n"
        if hasattr(name.thing, "fit"):
            text += "Further fitted attributes: :doc:`/guide/attributes`.\n\n"
        text += _heading("Methods", "-")
        text += ".. autosummary::\n   :nosignatures:\n\n"
        text += "".join(f"   ~{name.name}.{method}\n" for method in found) + "\n"
        text += "".join(f".. automethod:: {name.name}.{method}\n\n" for method in found)
    else:
        text += f".. autofunction:: {name.name}\n\n"
    if examples.get(name.full):
        text += _heading("In the gallery", "-") + f".. minigallery:: {name.full}\n"
    return text


def _contents(groups: dict[str, list[names.Name]]) -> str:
    text = _heading("API reference", "=")
    text += "Import names from ``skvae``, and those with a module name from that module.\n"
    text += "To choose an estimator, see :doc:`/guide/choose`.\n\n"
    for title, members in groups.items():
        text += _heading(title, "-") + ".. autosummary::\n   :nosignatures:\n\n"
        text += "".join(f"   {n.full if n.module != 'skvae' else '~' + n.full}\n" for n in members)
        text += "\n.. toctree::\n   :hidden:\n\n"
        text += "".join(f"   {n.name} <{n.full}>\n" for n in members) + "\n"
    return text


def write_pages(app) -> None:
    """Pages below api/, rewritten only where they change; those of names that are gone go too."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    gallery = app.config.sphinx_gallery_conf.get("backreferences_dir")
    listing = Path(app.srcdir) / (gallery or "") / "backreferences_all.json"
    examples = json.loads(listing.read_text()) if gallery and listing.exists() else {}
    pages = {"index": _contents(names.grouped())}
    pages |= {n.full: _page(n, examples) for n in names.public_names()}
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for stem, text in pages.items():
        path = folder / f"{stem}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _targets(app) -> dict[str, str]:
    """What a literal may say, and the full name it means."""
    entries = inventories.read(Path(app.srcdir) / "inventories" / "names.txt")[1]
    others = {e.name: e.name for e in entries if "." in e.name}
    others |= {e.name.rpartition(".")[2]: e.name for e in entries if e.name.count(".") > 1}
    ours = {n.name: n.full for n in names.public_names()}
    return others | ours | {n.full.removeprefix("skvae."): n.full for n in names.public_names()}


class LinkNames(SphinxTransform):
    """Literals in prose that are a public name, or a call of one, lead to its page."""

    default_priority = 500

    def apply(self, **kwargs) -> None:
        """Wrap them in references."""
        here = self.env.docname.removeprefix("api/")
        for literal in list(self.document.findall(nodes.literal)):
            if not isinstance(literal.parent, nodes.paragraph | nodes.entry | nodes.term):
                continue
            match = LITERAL.fullmatch(literal.astext())
            target = self.app.skvae_targets.get(match[1]) if match else None
            if target is None or target == here:
                continue
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True
            )
            link["refdoc"] = self.env.docname
            literal.replace_self(link)
            link += literal


def name_role(role, rawtext, text, lineno, inliner, options=None, content=()):
    """Single backquotes of docstrings: code, linked where it is a method of the class at hand."""
    env = inliner.document.settings.env
    module, cls = (env.ref_context.get(key) for key in ("py:module", "py:class"))
    literal = nodes.literal(rawtext, text)
    owner = next((n for n in names.public_names() if (n.module, n.name) == (module, cls)), None)
    if owner is None or text not in names.methods(owner.thing):
        return [literal], []
    link = addnodes.pending_xref(
        "", refdomain="py", reftype="obj", reftarget=f"{owner.full}.{text}", refexplicit=True
    )
    link["refdoc"] = env.docname
    link += literal
    return [link], []


def split_references(app, what, name, obj, options, lines) -> None:
    """Sources that stand one below the other in a docstring become a list."""
    if "References" not in lines:
        return
    at = lines.index("References") + 2
    end = next((i for i in range(at, len(lines)) if not lines[i].strip()), len(lines))
    if any(line.lstrip().startswith((".. [", "* ", "[")) for line in lines[at:end]):
        return
    for i in range(at, end):
        starts = i == at or (lines[i - 1].endswith(".") and AUTHOR.match(lines[i]))
        lines[i] = ("* \\" if starts else "  ") + lines[i]  # "D. P." would start a list


def setup(app):
    """Sphinx's entry."""
    app.connect("builder-inited", write_pages, priority=900)  # after the gallery

    def find_targets(app):
        app.skvae_targets = _targets(app)

    app.connect("builder-inited", find_targets)
    app.connect("autodoc-process-docstring", split_references, priority=400)  # before numpydoc
    app.add_transform(LinkNames)
    app.add_role("name", name_role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
