"""The long description: README.md, its links and pictures leading to the documentation site.

On a package index a path of the checkout leads nowhere. All else is in setup.cfg.
"""

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def long_description() -> str:
    """README.md with addresses in place of paths."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    site = re.search(r"Documentation = (\S+)", config["metadata"]["project_urls"])[1]

    def address(match: re.Match) -> str:
        path = re.sub(r"^images/", "_images/", match[1].removeprefix("docs/"))
        path = path if "/" in path else path.lower()  # CHANGELOG.md is the page changelog
        return f"]({site}{re.sub(r'[.]md$', '.html', path)})"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", address, text)


setup(long_description=long_description(), long_description_content_type="text/markdown")
