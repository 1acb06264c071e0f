"""Pages: every block of Python runs, and links from estimators lead to pages that exist."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
from pathlib import Path

import pytest

import skvae
from skvae.contract.documentation import SITE

for _name in skvae.__all__:  # before the tests: loading libraries moves Python's own generator
    getattr(skvae, _name)

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("guide/*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.DOTALL | re.MULTILINE)


def module_at(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_module():
    return module_at(DOCS / "extensions" / "names.py")


def python_blocks(path: Path) -> list[str]:
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return [text for language, text in found if language in ("python", "py", "pycon")]


def is_doctest(block: str) -> bool:
    return block.lstrip().startswith(">>> ")


def page(path: Path):
    marks = [pytest.mark.cluster] if "Client(" in path.read_text(encoding="utf-8") else []
    return pytest.param(path, id=path.relative_to(ROOT).as_posix(), marks=marks)


@pytest.mark.parametrize("path", map(page, PAGES))
def test_every_python_block_runs(path):
    """Blocks without prompts run here; those with prompts run in `nox -s doctests`.

    Doctest reads the whole page, so each of their prompts has to be at the start of a line.
    """
    scope = {"__name__": "__main__"}
    prompts = 0
    for block in python_blocks(path):
        if is_doctest(block):
            prompts += len(re.findall(r"^>>> ", block, re.MULTILINE))
            continue
        assert ">>> " not in block, f"{path.name}: prompts in the middle of a block"
        exec(compile(block, path.name, "exec"), scope)
    collected = doctest.DocTestParser().get_examples(path.read_text(encoding="utf-8"))
    assert len(collected) == prompts


def test_ci_collects_the_pages_and_builds_the_site():
    sessions = (ROOT / "noxfile.py").read_text()
    assert '"--doctest-glob=*.md"' in sessions
    assert '"--pyargs", "skvae", "README.md", "docs"' in sessions
    assert "sphinx -W --keep-going -j 2 -b html docs" in sessions
    assert "docs/check_site.py" in sessions
    called = re.findall(r"nox -s ([\w ]+)", (ROOT / ".ci" / "run").read_text())
    assert {"doctests", "site"} <= set(" ".join(called).split())


def test_no_page_is_left_out():
    """A page in a folder that is not listed above would not be checked."""
    made = {"_build", "api", "gallery"}
    found = {p for p in DOCS.rglob("*.md") if p.relative_to(DOCS).parts[0] not in made}
    assert found == {p for p in PAGES if DOCS in p.parents}


def test_links_of_estimators_are_pages_of_the_reference():
    names = names_module()
    classes = [n for n in names.public_names() if hasattr(n.thing, "_get_doc_link")]
    assert len(classes) >= 19
    for name in classes:
        assert name.thing()._get_doc_link() == f"{SITE}{name.page}.html"


def test_a_class_of_the_user_links_nowhere():
    class Mine(skvae.PPCA):
        pass

    assert Mine()._get_doc_link() == ""


def test_the_site_is_named_in_the_metadata():
    assert SITE in (ROOT / "setup.cfg").read_text()


def test_every_public_name_has_a_group_and_a_see_also():
    names = names_module()
    grouped = [name for members in names.grouped().values() for name in members]
    assert sorted(grouped) == sorted(names.public_names())
    for name in grouped:
        if name.module == "skvae":
            assert "See Also\n" in name.thing.__doc__, name.full


def test_the_check_of_words_reads_prose_alone():
    check = module_at(DOCS / "check_words.py")
    page = (
        "# Laws\n\nA law. Bayes law, `law`, $law$,\n[a law\nof codes](law.md).\n\n```\nlaw\n```\n"
    )
    text = check.markdown(page)
    found = {match[0]: new for pattern, new in check.FOUND for match in pattern.finditer(text)}
    assert found["law\nof codes"] == "latent distribution"
    assert sum(len(pattern.findall(text)) for pattern, new in check.FOUND if "dist" in new) == 4
    assert [line for line, _ in check.sentences(page)] == [3, 3]
    docstring = 'One law.\n\nReferences\n----------\nA law.\n\nExamples\n--------\n>>> "law"\nlaw\n'
    assert check.docstring(docstring).count("law") == 1
    assert [check.syllables(w) for w in ("the", "tables", "rules", "needed")] == [1, 2, 1, 2]


def test_words_and_reading_ease():
    """Plain English: docs/check_words.py has the words to replace, and says why."""
    found = module_at(DOCS / "check_words.py").findings()
    if found:
        pytest.fail("\n".join(found), pytrace=False)


# -- messages that pages quote --------------------------------------------------------------------

WORDS = re.compile(r"[A-Za-z']+|\S")
QUOTED = re.compile(r"^(?:\w*Error|\w*Warning): (.*)$", re.MULTILINE)


def runs_of_words(text: str) -> set[tuple[str, ...]]:
    """Every three words that follow one another, with nothing but spaces between."""
    tokens = WORDS.findall(text)
    threes = zip(tokens, tokens[1:], tokens[2:], strict=False)
    return {three for three in threes if all(re.fullmatch(r"[a-z]+('[a-z]+)?", t) for t in three)}


def messages_of_the_package() -> set[tuple[str, ...]]:
    found = set()
    for path in Path(skvae.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else " | " for p in node.values]
                found |= runs_of_words("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= runs_of_words(node.value)
    return found


def test_pages_quote_the_messages_of_the_package():
    known, quotes = messages_of_the_package(), []
    for path in PAGES:
        for language, block in BLOCK.findall(path.read_text(encoding="utf-8")):
            if language == "text":
                quotes += [(path.name, quote) for quote in QUOTED.findall(block)]
    page = (DOCS / "guide" / "troubles.md").read_text(encoding="utf-8")
    quotes += [
        ("troubles.md", cell) for cell in re.findall(r"^\| `([^`]* [^`]* [^`]*)` \|", page, re.M)
    ]
    assert len(quotes) > 20
    of_others = ("Found array with", "Input X contains", "No space left")
    wrong = [
        (name, quote, sorted(runs_of_words(quote) - known))
        for name, quote in quotes
        if not quote.startswith(of_others) and runs_of_words(quote) - known
    ]
    assert not wrong, "\n".join(map(str, wrong))
