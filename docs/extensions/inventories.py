"""Inventories for intersphinx out of a list of names: links to other projects without a network."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One object of another project."""

    project: str
    kind: str
    name: str
    place: str


def read(path: Path) -> tuple[dict[str, str], list[Entry]]:
    """Address of each project, and all entries."""
    addresses: dict[str, str] = {}
    entries = []
    project = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            project, _, address = line[1:].partition("] ")
            addresses[project] = address
        elif line and not line.startswith("#"):
            kind, name, place = line.split()
            entries.append(Entry(project, kind, name, place))
    return addresses, entries


def _shown(entry: Entry) -> str:
    return entry.name.replace("_", " ").strip() if entry.kind == "std:label" else "-"


def compile_to(folder: Path, path: Path) -> dict[str, tuple[str, str]]:
    """Write one inventory (version 2) for each project; return intersphinx_mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses, entries = read(path)
    mapping = {}
    for project, address in addresses.items():
        lines = [
            f"{e.name} {e.kind} 1 {e.place} {_shown(e)}\n" for e in entries if e.project == project
        ]
        lines = [line.replace("$.html", f"{line.split()[0]}.html") for line in lines]
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        target = folder / f"{project}.inv"
        data = head.encode() + zlib.compress("".join(lines).encode())
        if not target.exists() or target.read_bytes() != data:
            target.write_bytes(data)
        mapping[project] = (address, str(target))
    return mapping
