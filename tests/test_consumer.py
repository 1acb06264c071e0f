"""Users' programs under type checkers: tests/consumer/right.py passes, wrong.py is rejected.

The checkers see the package as an installation shows it, with their own default settings. They come
with the extra "dev" (pyright needs node, too); without them these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skvae

CONSUMER = Path(__file__).parent / "consumer"
HOME = Path(skvae.__file__).parents[1]
Found = dict[int, set[str]]


def needs(*tools: str) -> None:
    """Skip the test without these."""
    for tool in tools:
        if not (shutil.which(tool) if tool == "node" else importlib.util.find_spec(tool)):
            pytest.skip(f"{tool} is not here")


def run(*command: str, **variables: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def by_pyright(path: Path, folder: Path) -> Found:
    """Rules that pyright finds broken, by line."""
    needs("pyright", "node")
    shutil.copy(path, folder)
    settings = {"include": [path.name], "extraPaths": [str(HOME)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ("--project", str(folder), "--pythonpath", sys.executable, "--outputjson")
    # The node that is here and the pyright of the package: nothing is fetched.
    text = run("pyright", *options, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    report = json.loads(text)
    assert report["summary"]["filesAnalyzed"] >= 1, text
    found: Found = {}
    for entry in report["generalDiagnostics"]:
        if entry["severity"] == "error":
            line = entry["range"]["start"]["line"] + 1
            found.setdefault(line, set()).add(entry.get("rule", entry["message"]))
    return found


def by_mypy(path: Path, folder: Path) -> Found:
    """Codes of the errors that mypy finds, by line."""
    needs("mypy")
    settings = folder / "mypy.ini"  # torch's own types matter to nobody here and take a minute
    settings.write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")
    options = ("--config-file", str(settings), "--cache-dir", str(folder / "cache"))
    options += ("--follow-imports=silent", "--ignore-missing-imports", "--no-error-summary")
    text = run(
        "mypy", *options, str(path), MYPYPATH="" if "site-packages" in HOME.parts else str(HOME)
    )
    found: Found = {}
    for line, code in re.findall(r":(\d+): error: .*\[([\w-]+)\]$", text, re.MULTILINE):
        found.setdefault(int(line), set()).add(code)
    assert found or "error" not in text, text
    return found


def expected(path: Path, checker: int) -> Found:
    """The rules named behind ``# expect:``, pyright's first, mypy's second; "-" for none.

    scikit-learn has no types, so to mypy its base class may have any attribute.
    """
    lines = enumerate(path.read_text().splitlines(), 1)
    rules = {number: re.search(r"# expect: (\S+) (\S+)$", line) for number, line in lines}
    return {
        number: {match[1 + checker]}
        for number, match in rules.items()
        if match and match[1 + checker] != "-"
    }


@pytest.mark.parametrize("name", ["right", "wrong"])
@pytest.mark.parametrize(
    ("checker", "check"), enumerate([by_pyright, by_mypy]), ids=["pyright", "mypy"]
)
def test_type_checkers_tell_right_from_wrong(name, checker, check, tmp_path):
    path = CONSUMER / f"{name}.py"
    assert check(path, tmp_path) == expected(path, checker)
