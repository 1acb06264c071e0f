"""Measures of the package: how long, how many, and what is not done here. Read from the source."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skvae"
CONTRACT = PACKAGE / "contract"

LONGEST_CLASS = 250  # lines, docstrings not counted, blank lines and comments counted
LONGEST_FUNCTION = 60
MOST_METHODS = 25

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (*FUNCTIONS, ast.ClassDef)


@cache
def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def nodes(*kinds: type) -> Iterator[tuple[Path, ast.AST]]:
    """All nodes of these kinds in the package."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield path, node


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def report(found: list[str], rule: str) -> None:
    if found:
        pytest.fail("\n".join([rule, *found]), pytrace=False)


def size(node: ast.AST) -> int:
    """Lines of a class or function without its docstring and those inside."""
    lines = node.end_lineno - node.lineno + 1
    for inner in ast.walk(node):
        if isinstance(inner, DOCUMENTED) and ast.get_docstring(inner, clean=False) is not None:
            docstring = inner.body[0]
            lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def only_stores(node: ast.AST) -> bool:
    """Whether it is an `__init__` that stores its parameters under their names, and that is all."""
    if not isinstance(node, FUNCTIONS) or node.name != "__init__":
        return False
    stores = [f"self.{a.arg} = {a.arg}" for a in [*node.args.args[1:], *node.args.kwonlyargs]]
    return [ast.unparse(line) for line in node.body] == stores


def too_long(limit: int, *kinds: type) -> list[str]:
    long = [(size(node), path, node) for path, node in nodes(*kinds) if size(node) > limit]
    long.sort(key=lambda entry: -entry[0])
    return [
        f"{place(path, node.lineno)}: {node.name}, {lines} lines"
        for lines, path, node in long
        if not only_stores(node)
    ]


def test_no_class_is_long():
    found = too_long(LONGEST_CLASS, ast.ClassDef)
    report(found, f"classes of more than {LONGEST_CLASS} lines without docstrings:")


def test_no_function_is_long():
    """But where scikit-learn wants each parameter listed and stored: two lines for each of them."""
    found = too_long(LONGEST_FUNCTION, *FUNCTIONS)
    report(found, f"functions of more than {LONGEST_FUNCTION} lines without docstrings:")


def test_no_class_has_many_methods():
    found = []
    for path, node in nodes(ast.ClassDef):
        own = {part.name for part in node.body if isinstance(part, FUNCTIONS)}
        if len(own) > MOST_METHODS:
            found.append(f"{place(path, node.lineno)}: {node.name}, {len(own)} methods")
    report(found, f"classes with more than {MOST_METHODS} methods of their own:")


def test_the_formatter_is_never_switched_off():
    found = []
    for path in sources():
        with tokenize.open(path) as file:
            found += [
                f"{place(path, token.start[0])}: {token.string}"
                for token in tokenize.generate_tokens(file.readline)
                if token.type == tokenize.COMMENT and "fmt:" in token.string
            ]
    report(found, "comments that switch the formatter off:")


def named(node: ast.AST) -> Iterator[str]:
    """Names of the classes in the second argument of isinstance."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            yield from named(part)
    elif isinstance(node, ast.BinOp):
        yield from named(node.left)
        yield from named(node.right)


def calls_outside_init(node: ast.AST) -> Iterator[ast.Call]:
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, FUNCTIONS) and inner.name == "__init__":
            continue
        if isinstance(inner, ast.Call):
            yield inner
        yield from calls_outside_init(inner)


def test_no_branch_on_an_own_class():
    """A class of ours is asked by a method, not by its name; `__init__` may check what it gets."""
    own = {node.name for _, node in nodes(ast.ClassDef)}
    found = []
    for path, tree in sources().items():
        if path.is_relative_to(CONTRACT):
            continue
        for call in calls_outside_init(tree):
            if getattr(call.func, "id", "") != "isinstance" or len(call.args) != 2:
                continue
            asked = sorted(own & set(named(call.args[1])))
            if asked:
                found.append(f"{place(path, call.lineno)}: isinstance of {', '.join(asked)}")
    report(found, "branches on the package's own classes:")


def test_no_module_is_hidden_in_a_tuple():
    """`self._x = (module,)` keeps a part of a network from its parameters, state and device."""
    found = []
    for path, node in nodes(ast.Assign, ast.AnnAssign):
        value = node.value
        if not isinstance(value, ast.Tuple) or len(value.elts) != 1:
            continue
        if isinstance(value.elts[0], ast.Constant | ast.Starred):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(ast.unparse(target).startswith("self.") for target in targets):
            found.append(f"{place(path, node.lineno)}: {ast.unparse(node)}")
    report(found, "attributes that are a tuple of one object, which hides a module:")


def test_one_name_one_meaning():
    """Public classes and functions of two modules have different names; re-exports are imports."""
    homes: dict[str, list[str]] = {}
    for path, tree in sources().items():
        for node in tree.body:
            if isinstance(node, DOCUMENTED) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(place(path, node.lineno))
    found = [f"{name}: {', '.join(places)}" for name, places in homes.items() if len(places) > 1]
    report(found, "names with several meanings:")
