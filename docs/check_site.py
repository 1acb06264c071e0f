"""Check a built site: links, anchors, files, pages of all public names, nothing remote to render.

``python docs/check_site.py docs/_build/html``. Standard library and the package only.
"""

from __future__ import annotations

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
REMOTE_STYLE = re.compile(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)")


class Page(HTMLParser):
    """Anchors of a page, links out of it, files it loads, and its doctest blocks."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.has_example = ">>> " in re.sub(r"<[^>]+>", "", text).replace("&gt;", ">")
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Collect."""
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
