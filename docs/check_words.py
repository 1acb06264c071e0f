"""Check the prose: no coined or banned words, and guide pages that are easy to read.

``python docs/check_words.py`` prints ``file:line: term -> replacement`` for each finding, then the
guide pages whose Flesch reading ease is below 50 or whose sentences have more than 17 words on
average, and exits with 1 if there is any. With ``--scores`` it prints the reading ease of all
pages, with ``--long 30`` the sentences of more than 30 words. Paths after the options limit it to
files or folders.

Words are looked for in README.md and other pages (code, formulas and link targets left out), in
docstrings and comments of the examples, and in docstrings and messages of the package. Lists of
references are left out, and so is the changelog.

Reading ease [1] is 206.835 - 1.015 words / sentences - 84.6 syllables / words, of running text:
paragraphs and lists, without headings, tables, code, formulas and directives. A sentence ends at
".", "!" or "?", and at the end of a paragraph or list item. Syllables are groups of vowels, less a
silent "e", "es" or "ed" at the end of the word.

1. R. Flesch: A new readability yardstick. Journal of Applied Psychology 32, 1948.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOWEST_EASE, MOST_WORDS = 50.0, 17.0
MASK = "\x00"  # stands for code and formulas, so that words on both sides do not meet

# Only what is never right. A blank in a pattern is any white space; the first match counts.
WORDS = {
    # distributions and samples
    r"laws? of (?:the )?codes?": "latent distribution",
    r"(?<!Bayes\s)(?<!power\s)laws?(?! of large numbers| of total)": "distribution",
    r"drawn (?:rows?|tables?|frames?|people|images?|digits?)": "synthetic rows, samples",
    r"draws? of (?:rows?|images?|tables?)": "samples",
    r"density of codes": "latent density",
    # missing values and columns
    r"holes?": "missing values",
    r"missing cells?": "missing values",
    r"rows? (?:without|with no|of no) (?:a |any )?cells?": "rows whose values are all missing",
    r"kinds? of columns?": "column type",
    r"tables? as (?:they are|it is)": "tables, data frames",
    # outliers
    r"dirty": "contaminated",
    r"wild(?:ly)?": "extreme",
    r"odd(?! number|-| and even)|oddly|oddness": "unusual",
    r"strange|stranger|strangest": "unusual",
    r"strangers": "others, untrusted sources",
    r"to blame|blamed?": "responsible",
    r"middling": "median, average",
    # models
    r"what an? (?:fitted )?model (?:holds|has)": "fitted attributes",
    r"the (?:model|network|score|encoder|decoder) (?:says?|tells?|knows?)": "returns, estimates",
    r"(?:rebuilt|rebuilds)": "reconstructed, reconstructs (a file: restored)",
    r"nets?": "network",
    r"players?": "networks",
    r"(?:in|by) turns": "alternately",
    r"houses?": "structure, rules",
    r"(?<!number\sof\s)rooms?": "space, layers",
    r"floor plan": "order of the layers",
    r"the way (?:down|up)": "the call chain",
    r"(?:the|a|its|their|one|\d+) spreads?|in spreads": "standard deviation, scale",
    r"ways? (?:between|through) (?:the )?(?:space of )?codes": "interpolation",
    # style
    r"pictures?": "image (data), figure (display)",
    r"such an?": "a ... like this, this",
    r"whoever|whomever|whence|thence|thereof|therein|lest|albeit": "plain words",
    r"honest(?:ly)?": "say what it does",
    r"good for": "use it for",
    r"yardstick": "reference, baseline",
    r"by heart": "memorises",
    r"to the letter": "exactly",
    r"(?:has|have) no say": "is ignored",
    r"mend(?:s|ed|ing)?": "fix",
    r"(?<!by\s)hand(?:s|ed|ing)? (?:in|over)": "pass",
    r"might-be|come what may|never shows": "say what it does",
    # one spelling: British, with -ise
    r"(?:standard|normal|regular|optim|initial|minim|maxim|general|summar|memor|visual|penal|organ"
    r"|factor|serial|vector|real|util|recogn|equal|random|marginal|binar|quant|parametr|categor"
    r"|special|custom|final|discret)iz(?:e|es|ed|er|ers|ing|ation|ations)": "-ise, -isation",
    r"colors?|colored|behaviors?|modeling|modeled|labeled|labeling|centers?|gray": "colour, ...",
}
FOUND = [(re.compile(rf"\b(?:{p})\b".replace(" ", r"\s+"), re.IGNORECASE), WORDS[p]) for p in WORDS]

# Pieces of text: (line of the first character, text with what is no prose masked).
Piece = tuple[int, str]


def mask(pattern: str, text: str, by: str = MASK, flags: int = re.MULTILINE) -> str:
    """Matches replaced, character by character, so that lines stay where they are."""
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", by, m[0]), text, flags=flags)


def markdown(text: str) -> str:
    """A page without code, formulas, directives, link targets and references."""
    text = mask(r"^( *)(```+|~~~+)[^\n]*\n.*?^\1\2[ \t]*$", text, flags=re.M | re.DOTALL)
    text = mask(r"<!--.*?-->", text, flags=re.DOTALL)
    text = mask(r"^## (?:Sources|References)\n.*?(?=^## |\Z)", text, flags=re.M | re.DOTALL)
    text = mask(r"^:{3,}[^\n]*$|^:[\w-]+:.*$", text)
    text = mask(r"(`+)[^`].*?\1", text, flags=re.DOTALL)
    text = mask(r"\$\$.*?\$\$|(?<![\\$])\$[^$]+?\$", text, flags=re.DOTALL)
    return mask(r"(?<=\])\([^)\s]+\)|<https?:[^>]+>", text)


def docstring(text: str) -> str:
    """A docstring without code, values of parameters, formulas and references."""
    section = r"^ *References\n *-+\n.*?(?=^ *\w[\w ]*\n *---|\Z)"
    text = mask(section, text, flags=re.M | re.DOTALL)
    text = mask(r"^ *>>>.*\n(?:(?! *$| *>>>).*\n?)*", text)
    text = mask(r"^( *)\.\. math::.*\n(?:(?:\1 +.*)?\n)*", text)
    return mask(r"(`+)[^`].*?\1|\"[\w-]+\"", text, flags=re.DOTALL)


def package_strings(path: Path) -> Iterator[Piece]:
    """Docstrings, and other strings of three words or more: messages and printed text."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                yield node.lineno, docstring(node.value)
            elif len(re.findall(r"[A-Za-z]{2,}\b", node.value)) >= 3 and " " in node.value:
                yield node.lineno, mask(r"`[^`]*`|'[\w-]+'", node.value)


def example_prose(path: Path) -> Iterator[Piece]:
    """Docstrings and blocks of comments of an example."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if ast.get_docstring(tree, clean=False) is not None:
        yield tree.body[0].lineno, docstring(tree.body[0].value.value)
    block, last = [], 0
    with path.open("rb") as file:
        found = [t for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT]
    for token in found:
        if block and token.start[0] != last + 1:
            yield last + 1 - len(block), mask(r"(`+)[^`].*?\1", "\n".join(block), flags=re.DOTALL)
            block = []
        block.append(token.string[1:].strip())
        last = token.start[0]
    if block:
        yield last + 1 - len(block), mask(r"(`+)[^`].*?\1", "\n".join(block), flags=re.DOTALL)


def pages() -> list[Path]:
    """Markdown files that people read."""
    made = {"_build", "api", "gallery"}
    docs = ROOT / "docs"
    found = [p for p in sorted(docs.rglob("*.md")) if p.relative_to(docs).parts[0] not in made]
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [p for p in [*top, *found] if p.exists()]


def texts() -> Iterator[tuple[Path, Piece]]:
    """All prose."""
    for path in [*pages(), ROOT / "examples" / "GALLERY_HEADER.rst"]:
        yield path, (1, markdown(path.read_text(encoding="utf-8")))
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield from ((path, piece) for piece in example_prose(path))
    for path in sorted((ROOT / "skvae").rglob("*.py")):
        yield from ((path, piece) for piece in package_strings(path))


def words_found() -> Iterator[tuple[Path, int, str, str]]:
    """File, line, term and replacement of each banned word."""
    for path, (first, text) in texts():
        taken: list[tuple[int, int]] = []
        for pattern, replacement in FOUND:
            for match in pattern.finditer(text):
                if any(a < match.end() and match.start() < b for a, b in taken):
                    continue
                taken.append(match.span())
                line = first + text.count("\n", 0, match.start())
                yield path, line, " ".join(match[0].split()), replacement


def syllables(word: str) -> int:
    """Groups of vowels, less a silent ending; at least one."""
    word = re.sub(r"[^a-z]", "", word.lower())
    silent = r"(?<=[^aeiouytd])ed$|(?<=[^aeiouyscxzghl])es$|(?<=[aeiouy]l)es?$|(?<=[^aeiouyl])e$"
    word = re.sub(silent, "", word)
    return max(1, len(re.findall(r"[aeiouy]+", word)))


def sentences(text: str) -> list[tuple[int, list[str]]]:
    """Line and words of each sentence of a page's running text."""
    text = mask(r"^#+ .*$|^\s*\|.*$", markdown(text))
    text = text.replace("e.g.", "eg").replace("i.e.", "ie").replace(MASK, " ")
    found = []
    starts = r"^[ \t]*\n|^[ \t]*(?:[-*]|\d+\.) (?=\S)"  # paragraphs and list items
    for start, end in _spans(starts, text):
        for a, b in _spans(r"[.!?](?=[\s)*\"]|$)", text, start, end):
            words = re.findall(r"[A-Za-z]+(?:['-][A-Za-z]+)*", text[a:b])
            if words:
                begin = a + len(text[a:b]) - len(text[a:b].lstrip())
                found.append((1 + text.count("\n", 0, begin), words))
    return found


def _spans(
    pattern: str, text: str, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int]]:
    end = len(text) if end is None else end
    for match in re.compile(pattern, re.MULTILINE).finditer(text, start, end):
        yield start, match.start()
        start = match.end()
    yield start, end


def reading_ease(path: Path) -> tuple[float, float]:
    """Flesch reading ease of a page, and its words in a sentence; no prose is easy."""
    found = [words for _, words in sentences(path.read_text(encoding="utf-8"))]
    words = [word for one in found for word in one]
    if not words:
        return 100.0, 0.0
    length = len(words) / len(found)
    return 206.835 - 1.015 * length - 84.6 * sum(map(syllables, words)) / len(words), length


def findings() -> list[str]:
    """All that is wrong, a line each."""
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {term} -> {replacement}"
        for path, line, term, replacement in words_found()
    ]
    for path in pages():
        if path.parent.name == "guide":
            ease, length = reading_ease(path)
            if ease < LOWEST_EASE or length > MOST_WORDS:
                name = path.relative_to(ROOT).as_posix()
                found.append(f"{name}: reading ease {ease:.0f}, {length:.1f} words per sentence")
    return found


def main() -> int:
    """Print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", help="files or folders, from the root of the checkout")
    parser.add_argument("--scores", action="store_true", help="reading ease of all pages")
    parser.add_argument("--long", type=int, help="sentences of more words than this")
    args = parser.parse_args()
    chosen = tuple(args.paths)
    for path in pages():
        name = path.relative_to(ROOT).as_posix()
        if chosen and not name.startswith(chosen):
            continue
        if args.scores:
            print("{1:5.1f} {2:5.1f}  {0}".format(name, *reading_ease(path)))
        if args.long:
            for line, words in sentences(path.read_text(encoding="utf-8")):
                if len(words) > args.long:
                    print(f"{name}:{line}: {len(words)} words: {' '.join(words[:8])} ...")
    found = [one for one in findings() if not chosen or one.startswith(chosen)]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
