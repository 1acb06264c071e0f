"""Files from strangers, and saves that are killed: what the page "Saving" promises, at full size.

Files of eleven models are changed by chance in one or two places, their digest made right, and
read; those that are still read are used. Then the crafted ones of `tests/crafted.py`. Then saves
over an older file are killed at random moments. Bars: ValueError or a model that works, at most
2 s and twice the file's bytes and 100 MB, no foreign name on an estimator; an old or a new file,
whole, and nothing beside it after the next save.
"""

from __future__ import annotations

import collections
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
from _common import arguments, parser, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

KEYS = ("refused", "read", "other error", "foreign names", "over the bar")
KEYS += ("refused in use", "error in use")


def mutations(n: int, seed: int, verbose: bool) -> None:
    """Files changed by chance."""
    import crafted

    from skvae.tables.files import read

    rng, lines = np.random.default_rng(seed), []
    folder = Path(tempfile.mkdtemp())
    models = crafted.models()
    counts = [len(part) for part in np.array_split(np.arange(n), len(models))]
    strange: collections.Counter[str] = collections.Counter()
    for (name, (model, X)), count in zip(models.items(), counts, strict=True):
        path = folder / "file"
        model.save(path)
        size = path.stat().st_size
        whole = read(os.fspath(path))
        made = collections.Counter()
        seconds = memory = 0.0
        for _ in range(count):
            crafted.put(path, *crafted.mutated(*whole, rng))
            reading = crafted.Reading(path)
            seconds, memory = max(seconds, reading.seconds), max(memory, reading.memory)
            made["refused"] += reading.is_refused
            made["over the bar"] += not reading.is_cheap
            if reading.error is not None and not reading.is_refused:
                made["other error"] += 1
                strange[f"load: {reading.error!r:.150}"] += 1
            if reading.model is None:
                continue
            made["read"] += 1
            made["foreign names"] += bool(crafted.foreign_names(reading.model))
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    crafted.use(reading.model, X)
            except ValueError:
                made["refused in use"] += 1
            except Exception as error:
                made["error in use"] += 1
                frame = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{Path(frame.filename).name}:{frame.lineno}"
                strange[f"use: {name}: {error!r:.150} at {at}"] += 1
        most = (f"{seconds:.2f}", f"{memory / 1e6:.0f}")
        lines.append([name, size // 1000, count, *(made[key] for key in KEYS), *most])
    table(["file", "kB", "changed", *KEYS, "most s", "most MB"], lines)
    for said, times in strange.most_common(40 if verbose else 10):
        print(f"- {times} x {said}")


def on_purpose() -> None:
    """The crafted files."""
    import crafted

    from skvae.tables.files import read

    path, models, lines = Path(tempfile.mkdtemp()) / "file", crafted.models(), []

    def add(name: str, reading: crafted.Reading) -> None:
        lines.append([name, reading.is_refused, reading.seconds, reading.memory, reading.is_cheap])

    for name, (start, change) in crafted.CRAFTED.items():
        models[start][0].save(path)
        head, tensors = read(os.fspath(path))
        change((head, tensors))
        crafted.put(path, head, tensors)
        add(name, crafted.Reading(path))
    for name, data in crafted.BYTES.items():
        path.write_bytes(data)
        add(name, crafted.Reading(path))
    for name, refused, seconds, memory, cheap in lines:
        if not refused or not cheap or seconds > 0.5:
            print(f"- {name}: refused {refused}, {seconds:.2f} s, {memory / 1e6:.0f} MB")
    refused, cheap = sum(line[1] for line in lines), sum(line[4] for line in lines)
    most = [f"{max(line[2] for line in lines):.2f}", f"{max(line[3] for line in lines) / 1e6:.0f}"]
    table(
        ["crafted", "refused", "within the bar", "most s", "most MB"],
        [[len(lines), refused, cheap, *most]],
    )


def kills(n: int, seed: int) -> None:
    """Saves that end at once."""
    import crafted

    import skvae

    rng, folder = np.random.default_rng(seed), Path(tempfile.mkdtemp())
    path = folder / "file"
    last = skvae.PPCA(1).fit(np.eye(3))
    last.save(path)
    found: collections.Counter[str] = collections.Counter()
    for _ in crafted.killed_saves(path, rng.uniform(0.0, 0.06, n)):
        found["left litter"] += len(os.listdir(folder)) > 1
        try:
            found["whole"] += skvae.load(path).mean_.shape in ((crafted.WIDTH,), (3,))
        except ValueError:
            found["broken"] += 1
        last.save(path)
        found["litter after the next save"] += os.listdir(folder) != ["file"]
    keys = ["whole", "broken", "left litter", "litter after the next save"]
    table(["kills", *keys], [[n, *(found[key] for key in keys)]])


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--files", type=int, default=10_000, help="files changed by chance")
    p.add_argument("--kills", type=int, default=300, help="saves that are killed")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--verbose", action="store_true", help="list more of what went wrong")
    args = arguments(p)
    on_purpose()
    mutations(args.files, args.seed, args.verbose)
    kills(args.kills, args.seed)


if __name__ == "__main__":
    main()
