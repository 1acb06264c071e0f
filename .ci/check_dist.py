"""Check what a release consists of: ``python .ci/check_dist.py dist docs/_build/html``.

One version everywhere, the package alone in the wheel, and a long description whose links and
pictures all lead to addresses, those on the documentation site to files of the site as built.
"""

from __future__ import annotations

import configparser
import re
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=[\"']([^\"']+)")


def problems(dist: Path, site: Path) -> list[str]:
    """All that is wrong."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    version = config["metadata"]["version"]
    home = re.search(r"Documentation = (\S+)", config["metadata"]["project_urls"])[1]

    wrong = []
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    if f"\nversion: {version}\n" not in cited:
        wrong.append(f"CITATION.cff is not of version {version}")
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    if changes[:1] != [version]:
        wrong.append(f"CHANGELOG.md does not begin with version {version}")
    wheel = dist / f"skvae-{version}-py3-none-any.whl"
    expected = {wheel, dist / f"skvae-{version}.tar.gz"}
    if set(dist.iterdir()) != expected:
        return [*wrong, f"{dist} does not hold one wheel and one sdist of version {version}"]

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = f"skvae-{version}.dist-info"
        description = archive.read(f"{about}/METADATA").decode("utf-8").partition("\n\n")[2]
    strangers = sorted({name.partition("/")[0] for name in names} - {"skvae", about})
    if strangers:
        wrong.append(f"the wheel installs {', '.join(strangers)}, too")
    if "skvae/py.typed" not in names:
        wrong.append("the wheel lacks skvae/py.typed")
    places = [first or second for first, second in LINK.findall(description)]
    if not places:
        wrong.append("the long description has no link and no picture")
    for place in places:
        if urlsplit(place).scheme != "https":
            wrong.append(f"long description: {place} leads nowhere on a package index")
        elif place.startswith(home):
            path = unquote(urlsplit(place.removeprefix(home)).path) or "index.html"
            if not (site / path).is_file():
                wrong.append(f"long description: the site has no {path}")
    return wrong


def main() -> None:
    """Print what is wrong; exit with 1 if anything is."""
    found = problems(Path(sys.argv[1]), Path(sys.argv[2]))
    print(*found, f"distributions: {len(found)} problems", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
