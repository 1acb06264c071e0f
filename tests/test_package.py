"""The house rules: what importing costs, which way imports run, what the README promises."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skvae
from skvae import datasets, displays
from skvae.tables import optional

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skvae"

# The floor plan (docs/architecture). A folder imports only from rows above its own, and itself.
ORDER = [
    ["linear_gaussian", "datasets"],
    ["nn"],
    ["tables"],
    ["metrics"],  # figures of synthetic tables read frames
    ["engine", "contract", "latent"],
    ["displays"],
    ["estimators"],
    ["extend", "sources"],
    ["dask"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
# What files of one method import of each other's folder: nothing but what all methods share.
SHARED = {
    "estimators.base",
    "estimators.options",
    "estimators.stream",
    "estimators.variational",
}


def modules() -> dict[str, Path]:
    """Modules of the package by their dotted name below it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    package = ("skvae", *path.relative_to(PACKAGE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {base} if node.module else {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", [name for name in modules() if name])
def test_imports_run_downward(name):
    top = name.partition(".")[0]
    assert top in LEVEL, f"give {name} a place in ORDER"
    for imported in imports(modules()[name]):
        if not imported.startswith("skvae."):
            continue
        other = imported.split(".")[1]
        inside = other == top and (top != "estimators" or imported[6:] in SHARED)
        assert inside or LEVEL[other] < LEVEL[top], f"{name} imports {imported}"


@pytest.mark.parametrize("name", [n for n in modules() if n.startswith("nn")])
def test_networks_know_only_tensors(name):
    found = {module.partition(".")[0] for module in imports(modules()[name])}
    assert not found & {"sklearn", "numpy", "scipy", "pandas"}


@pytest.mark.parametrize(
    "name",
    [
        "datasets",
        "tables.files",
        "tables.source",
        *(n for n in modules() if n.startswith(("contract", "displays", "linear_gaussian"))),
    ],
)
def test_the_contract_and_the_closed_forms_need_no_torch(name):
    assert "torch" not in {module.partition(".")[0] for module in imports(modules()[name])}


def run(program: str, *options: str) -> str:
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_import_is_cheap():
    """Best of three, against Python's own start."""
    program = """if True:
        import time
        begun = time.perf_counter()
        import skvae
        print(time.perf_counter() - begun)
        import sys
        heavy = {"torch", "sklearn", "numpy", "scipy", "safetensors"} & set(sys.modules)
        assert not heavy, heavy
        assert {"VAE", "datasets", "displays"} <= set(dir(skvae))
    """
    assert min(float(run(program)) for _ in range(3)) < 0.3


def test_submodules_load_on_first_use():
    program = "import skvae; print(skvae.displays.__name__, skvae.datasets.__name__)"
    assert run(program).split() == ["skvae.displays", "skvae.datasets"]
    program = "import skvae.displays, sys; print({'torch', 'matplotlib'} & set(sys.modules))"
    assert run(program).strip() == "set()"


def test_public_names():
    assert len(set(skvae.__all__)) == len(skvae.__all__)
    for name in skvae.__all__:
        assert getattr(skvae, name) is not None
        assert name in dir(skvae)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skvae.nothing  # noqa: B018
    assert re.fullmatch(r"\d+\.\d+.*", skvae.__version__)


PUBLIC = [
    *((skvae, name) for name in (*skvae.__all__, "load") if not name.startswith("_")),
    *((module, name) for module in (datasets, displays) for name in module.__all__),
]


@pytest.mark.parametrize(("home", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_public_names_are_documented(home, name):
    text = getattr(home, name).__doc__
    assert text
    assert "<shared" not in text
    assert "Parameters\n" in text
    assert ">>> " in text or name == "load"  # its example is in `save`


def test_the_installed_package_is_typed():
    assert (Path(skvae.__file__).parent / "py.typed").exists()


def test_readme_and_ci_run_the_same_commands():
    """One place for each command: a line of the README that can be pasted."""
    readme = (ROOT / "README.md").read_text()
    install = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt"
    example = f'{install} ".[displays]" && .venv/bin/python examples/quickstart.py'
    tests = f'{install} ".[test]" && .venv/bin/pytest -n 2'
    assert example in readme.splitlines()
    assert tests in readme.splitlines()
    assert tests in (ROOT / ".ci" / "run").read_text()


def test_contributing_and_ci_name_the_sessions_of_nox():
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    sessions = {f.name for f in functions if ast.unparse(f).startswith("@nox.session")}
    rows = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `nox -s (\w+)`", rows, re.MULTILINE)) == sessions
    called = re.findall(r"/nox -s ([\w ]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    called = set(" ".join(called).split())
    # the README's command is `tests`; the others take long, and are run before a release
    assert called == sessions - {"tests", "coverage", "pythons", "oldest", "newest"}


def test_a_star_import_does_not_hide_load():
    assert run("from skvae import *; print('VAE' in dir(), 'load' in dir())").split() == [
        "True",
        "False",
    ]


def extras() -> dict[str, str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return dict(config["options.extras_require"])


@pytest.mark.parametrize("package", sorted(optional._EXTRAS))
def test_messages_about_missing_packages_name_their_extra(package, monkeypatch):
    extra = optional._EXTRAS[package]
    assert re.search(rf"\b{package}\b", extras()[extra])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'this needs {package}.*"skvae\[{extra}\]"'):
        optional.imported(package, "this")


def test_all_extras_of_users_are_in_all():
    (everything,) = re.findall(r"skvae\[(.*)\]", extras()["all"])
    assert {*everything.split(","), "all", "test", "dev", "docs"} == {*extras()}


def test_the_supported_pythons_are_tested():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    named = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    (listed,) = re.findall(r"python=\[(.*)\]", (ROOT / "noxfile.py").read_text(encoding="utf-8"))
    assert ast.literal_eval(f"[{listed}]") == named
    assert config["options"]["python_requires"] == f">={named[0]}"


def test_the_conda_recipe_agrees_with_the_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    recipe = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    assert f'version: "{config["metadata"]["version"]}"' in recipe
    runs = re.search(r"\n  run:\n((?:    - .*\n)+)", recipe)[1]
    listed = {line.removeprefix("    - ").replace(" ", "") for line in runs.splitlines()}
    required = {
        re.sub(r"^torch\b", "pytorch", item)
        for item in config["options"]["install_requires"].split()
    }
    assert listed == required | {"python>=${{python_min}}"}
    assert f'python_min: "{config["options"]["python_requires"].removeprefix(">=")}"' in recipe


def test_constraints_pin_every_dependency():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    required = config["options"]["install_requires"].split()
    for extra in config["options.extras_require"].values():
        required += extra.split()
    names = {re.split(r"[<>=\[]", item)[0].lower() for item in required} - {"skvae"}
    assert names <= pinned


def _project_files() -> list[Path]:
    tops = "skvae tests docs examples benchmarks .ci .github".split()
    files = [path for top in tops for path in (ROOT / top).rglob("*")]
    files += [p for p in ROOT.iterdir() if not p.is_dir()]
    binary = {".png", ".pyc", ".npz", ".svg", ".skvae"}
    built = [ROOT / "docs" / folder for folder in ("_build", "api", "gallery")]
    files = [p for p in files if not any(p.is_relative_to(folder) for folder in built)]
    made = (".git", ".coverage")  # a worktree's link; measured coverage
    files = [p for p in files if not (p.name == made[0] or p.name.startswith(made[1]))]
    return [p for p in files if p.is_file() and p.suffix not in binary]


def test_no_path_of_a_machine_in_any_file():
    """A checkout must mean the same everywhere."""
    machine = re.compile(r"(?<![\w.:/-])/(?:home|root|opt|work|tmp|usr/local|Users|mnt|srv)/\w")
    for path in _project_files():
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not machine.search(line), f"{path}: {line}"
