"""The checks, for people and for .ci/run alike: ``nox -l`` lists them, ``nox -s lint`` runs one.

They run in the environment that nox itself is in (``pip install -c constraints.txt -e ".[dev]"``),
since each further one would need its own PyTorch. Only `release`, `pythons`, `oldest` and `newest`
make fresh environments. What follows ``--`` goes to pytest.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests", "doctests"]

ROOT = Path(__file__).parent
SITE = ROOT / "docs" / "_build" / "html"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
WORKERS = ("-n", "2")

# A user's first minute, with nothing of the checkout in reach.
FIRST_MINUTE = """
import sys
from pathlib import Path
import numpy as np
import skvae
assert Path(skvae.__file__).is_relative_to(sys.prefix), skvae.__file__
X = np.random.default_rng(0).normal(size=(60, 5)) @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
for model in (skvae.PPCA(2), skvae.VAE(2, random_state=0)):
    codes = model.fit(X).transform(X)
    assert codes.shape == (60, 2)
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(3).shape == (3, 5)
print("skvae", skvae.__version__, "fits in", sys.prefix)
"""


def python(session: nox.Session, *arguments: str, **options) -> None:
    """Run this environment's Python."""
    session.run(sys.executable, *arguments, external=True, **options)


def pytest(session: nox.Session, *arguments: str, **options) -> None:
    """Run the tests against the package that is installed: -P keeps this folder out of the way."""
    python(session, "-P", "-m", "pytest", *arguments, **options)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the slow ones; files and options of pytest may follow ``--``."""
    pytest(session, *WORKERS, *session.posargs)


@nox.session
def doctests(session: nox.Session) -> None:
    """Examples in docstrings, in README.md and in the pages of docs."""
    options = ("--dist=worksteal", "--doctest-modules", "--doctest-glob=*.md")
    places = ("--pyargs", "skvae", "README.md", "docs")
    pytest(session, *WORKERS, *options, *places, env=ONE_THREAD)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and layout: ruff."""
    python(session, "-m", "ruff", "check", ".")
    python(session, "-m", "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package and of users' programs (mypy and pyright)."""
    python(session, "-m", "mypy")
    if shutil.which("node"):
        quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
        python(session, "-m", "pyright", "--pythonpath", sys.executable, env=quiet)
    else:
        session.warn("pyright needs node: not run over the package")
    pytest(session, "-ra", "tests/test_consumer.py")


@nox.session
def site(session: nox.Session) -> None:
    """The documentation site with every example; warnings are errors, nothing is fetched."""
    for folder in ("_build", "api", "gallery"):
        shutil.rmtree(ROOT / "docs" / folder, ignore_errors=True)
    build = "sphinx -W --keep-going -j 2 -b html docs docs/_build/html".split()
    python(session, "-P", "-m", *build, env=ONE_THREAD)
    python(session, "-P", "docs/check_site.py", "docs/_build/html")


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests with their branch coverage; ``-- report`` shows that of a run with --cov again."""
    if session.posargs != ["report"]:
        quiet = ("--cov", "--cov-report=", "--cov-fail-under=0")  # the report below decides
        pytest(session, *WORKERS, *quiet, *session.posargs)
    python(session, "-m", "coverage", "report")


def try_out(session: nox.Session, home: Path, *install: str) -> None:
    """Install in the environment in a folder, and let it do a user's first minute."""
    clean = {"PYTHONPATH": None, **ONE_THREAD}
    pins = str(ROOT / "constraints.txt")
    # modules compile when they are imported, and most of PyTorch's never are
    pip = ("-m", "pip", "install", "--quiet", "--no-compile", "-c", pins, *install)
    session.run(interpreter(home), *pip, external=True, env=clean)
    with session.chdir(home):
        session.run(interpreter(home), "-c", FIRST_MINUTE, external=True, env=clean)


def interpreter(home: Path) -> str:
    """The Python of the environment in a folder."""
    return str(home / ("Scripts" if os.name == "nt" else "bin") / "python")


@nox.session
def release(session: nox.Session) -> None:
    """Build sdist and wheel, check both, install each, run the sdist's own tests.

    The wheel goes into a fresh environment and needs nothing else there. The sdist takes its place
    and brings what the tests need, since another environment would be another PyTorch.
    """
    if not SITE.exists():
        session.error("links are checked against the built site: nox -s site release")
    for leftover in ("dist", "build", "skvae.egg-info"):
        shutil.rmtree(ROOT / leftover, ignore_errors=True)
    python(session, "-m", "build", "--outdir", "dist")
    built = {path.suffix: path for path in (ROOT / "dist").iterdir()}
    python(session, "-m", "twine", "check", "--strict", *map(str, built.values()))
    python(session, "-m", "check_wheel_contents", str(built[".whl"]))
    python(session, ".ci/check_dist.py", "dist", str(SITE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        python(session, "-m", "venv", str(home))
        try_out(session, home, str(built[".whl"]))
        session.run(interpreter(home), "-m", "pip", "uninstall", "--yes", "skvae", external=True)
        try_out(session, home, f"{built['.gz']}[test]")
        shutil.unpack_archive(built[".gz"], folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        with session.chdir(unpacked):
            command = ("-P", "-m", "pytest", *WORKERS, *session.posargs)
            session.run(interpreter(home), *command, external=True, env={"PYTHONPATH": None})


@nox.session(venv_backend="venv", python=["3.11", "3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The tests under every supported Python that this machine has, with the pinned releases."""
    session.install("-c", "constraints.txt", ".[test]")
    session.run("python", "-P", "-m", "pytest", *WORKERS, *session.posargs)


def floors() -> list[str]:
    """The lowest releases that setup.cfg allows, but of PyTorch the pinned one.

    Of the extras those of data frames, which have to fit numpy.
    """
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    required = config["options"]["install_requires"] + extras["tables"] + extras["parquet"]
    return [
        f"{item.replace('>=', '==')}.*" for item in required.split() if not item.startswith("torch")
    ]


@nox.session(venv_backend="venv")
def oldest(session: nox.Session) -> None:
    """The tests with the lowest numpy, scipy and scikit-learn that are allowed."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    tools = re.findall(r"^(?:torch|pytest.*|hypothesis|coverage)==.*", pins, re.MULTILINE)
    session.install(".[test]", *tools, *floors())
    session.run("python", "-P", "-m", "pytest", *WORKERS, *session.posargs)


@nox.session(venv_backend="venv")
def newest(session: nox.Session) -> None:
    """The tests with the newest releases of all that is required."""
    session.install("--upgrade", "--upgrade-strategy", "eager", ".[test]")
    session.run("python", "-P", "-m", "pytest", *WORKERS, *session.posargs)
