"""Check a built site, by ``python docs/check_site.py docs/_build/html``.

Links, anchors, files, pages of all public names, nothing remote to render; every line of
prose of the sources is on its page, and no code block is empty. Standard library and the package
only.
"""

from __future__ import annotations

import ast
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
import names

LOADED = {  # what a browser fetches by itself to show a page
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("source", "src"),
    ("video", "src"),
    ("iframe", "src"),
    ("link", "href"),
}
NOT_FETCHED = {"canonical", "search", "index", "next", "prev", "author", "alternate"}
DOCS = Path(__file__).parent
FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
NOT_SHOWN = re.compile(  # options of directives, their names, labels, tags, targets of links
    r"^:[\w-]+:.*$|^:{3,}\{div\}.*$|^:{3,}\{.*?\}|!\[[^\]]*\]|^\([\w-]+\)=$|</?[A-Za-z][^>]*>|(?<=\])\([^)]*\)|\{[\w:-]+\}(?=`)",
    re.MULTILINE,
)
# between maths, code, cells and lines
APART = re.compile(r"\$\$.*?\$\$|\$[^$\n]*\$|`[^`]*`\w*|\||\n", re.DOTALL)
NOT_OF_THE_PAGE = ("script", "style", "nav", "aside", "footer")
WORD = re.compile(r"[^\W\d_]+")
REMOTE_STYLE = re.compile(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)")


class Page(HTMLParser):
    """Anchors of a page, links out of it, files it loads, its words and its code blocks."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.words = ""
        self.n_empty_blocks = 0
        self._block: list[str] | None = None  # text of the code block that is open
        self._n_hidden = 0  # open tags whose text is none of the page's own
        self._text: list[str] = []
        self.has_example = ">>> " in re.sub(r"<[^>]+>", "", text).replace("&gt;", ">")
        self.feed(text)
        self.words = " ".join(WORD.findall("".join(self._text)))

    def handle_data(self, data: str) -> None:
        """Collect text that is read, and that of code blocks."""
        if not self._n_hidden:
            self._text.append(data)
        if self._block is not None:
            self._block.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Count code blocks without code."""
        self._n_hidden -= tag in NOT_OF_THE_PAGE
        if tag == "pre" and self._block is not None:
            self.n_empty_blocks += not "".join(self._block).strip()
            self._block = None

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Collect."""
        self._n_hidden += tag in NOT_OF_THE_PAGE
        if tag == "pre":
            self._block = []
        found = {key: value for key, value in attrs if value}
        self.ids |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and NOT_FETCHED & set(found.get("rel", "").split()):
            return
        for kind, key in LOADED:
            if tag == kind and key in found:
                places = found[key].split(",") if key == "srcset" else [found[key]]
                self.loads += [place.split()[0] for place in places if place.strip()]


def prose_of(source: Path) -> str:
    """Prose of a page in Markdown, or of the comments that an example shows."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".py":
        shown = re.findall(r"^# %%\n((?:#.*\n)+)", text, re.MULTILINE)
        shown.insert(0, ast.get_docstring(ast.parse(text)) or "")
        return "\n".join(re.sub(r"^# ?", "", block, flags=re.MULTILINE) for block in shown)
    for included in re.findall(r"^```\{include\} (\S+)", text, re.MULTILINE):
        text += (source.parent / included).read_text(encoding="utf-8")
    return NOT_SHOWN.sub("", FENCED.sub("\n", text))


def lost_lines(source: Path, page: Page) -> list[str]:
    """Lines of a source whose words are not on its page, one after another."""
    pieces = (" ".join(WORD.findall(piece)) for piece in APART.split(prose_of(source)))
    return [piece for piece in pieces if piece and f" {piece} " not in f" {page.words} "]


def sources() -> dict[str, Path]:
    """Sources of the pages that people write, by the name of the page."""
    written = [*DOCS.glob("*.md"), *DOCS.glob("guide/*.md")]
    found = {path.relative_to(DOCS).with_suffix(".html").as_posix(): path for path in written}
    examples = (DOCS.parent / "examples").glob("*.py")
    return found | {f"gallery/{path.stem}.html": path for path in examples}


def problems(root: Path) -> list[str]:
    """All that is wrong with the site."""
    pages = {
        path.relative_to(root).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.relative_to(root).parts
    }
    wrong = []
    for name, page in pages.items():
        for place in page.loads:
            if urlsplit(place).scheme == "data":
                continue
            if urlsplit(place).netloc:
                wrong.append(f"{name}: needs {place} from a network")
            elif not (root / name).parent.joinpath(unquote(urlsplit(place).path)).exists():
                wrong.append(f"{name}: {place} is missing")
        for place in page.links:
            parts = urlsplit(place)
            if parts.scheme or parts.netloc:
                continue
            target = (root / name).parent / unquote(parts.path) if parts.path else root / name
            target = target.resolve()
            if target.is_dir():
                target /= "index.html"
            if not target.exists() or not target.is_relative_to(root):
                wrong.append(f"{name}: broken link {place}")
                continue
            other = pages.get(target.relative_to(root).as_posix())
            anchor = unquote(parts.fragment)
            if other and anchor and anchor not in other.ids:
                wrong.append(f"{name}: no anchor for {place}")
        if page.n_empty_blocks:
            wrong.append(f"{name}: {page.n_empty_blocks} code blocks without code")
    for name, source in sources().items():
        if name not in pages:
            wrong.append(f"{name}: {source.name} has no page")
            continue
        lost = lost_lines(source, pages[name])
        wrong += [f"{name}: does not show {line!r} of {source.name}" for line in lost]
    for style in root.rglob("*.css"):
        remote = REMOTE_STYLE.findall(style.read_text(encoding="utf-8"))
        wrong += [f"{style.relative_to(root)}: needs {place} from a network" for place in remote]
    for public in names.public_names():
        page = pages.get(f"{public.page}.html")
        if page is None:
            wrong.append(f"{public.full}: no page")
        elif not page.has_example:
            wrong.append(f"{public.full}: no example on its page")
        elif public.full not in page.ids:
            wrong.append(f"{public.full}: its page has no anchor for it")
    return wrong


def main() -> None:
    """Print what is wrong; exit with 1 if anything is."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/_build/html").resolve()
    found = problems(root)
    for line in found:
        print(line)
    print(f"{len(list(root.rglob('*.html')))} pages, {len(found)} problems")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
