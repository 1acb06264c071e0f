"""Loaders of standard data sets from their original files; nothing is downloaded.

Each loader searches the folder `data_home`: the argument, else the environment variable
SCIKIT_LEARN_DATA, else ``~/scikit_learn_data``, as in scikit-learn.
"""

from __future__ import annotations

import gzip
import inspect
import os
import zlib
from collections.abc import Callable, Sequence
from math import prod
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.utils import Bunch, check_random_state

__all__ = [
    "load_boston_housing",
    "load_cifar10",
    "load_fashion_mnist",
    "load_image_patches",
    "load_mnist",
    "read_idx",
]

_Loader = TypeVar("_Loader", bound=Callable[..., Any])

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 32 if np.lib.NumpyVersion(np.__version__) < "2.0.0" else 64  # of numpy's arrays
_MOST_RATIO = 1100  # deflate makes bytes at most 1032 times as few
_IDX_PARTS = {"train": "train", "test": "t10k"}
_CIFAR_SHAPE = (3, 32, 32)

_PATCHES = """Patches of photographs

Square patches at random places of the two photographs of scikit-learn, a temple and a flower, as
colour images. The target is the photograph of the patch.
"""

_DIGITS = [str(i) for i in range(10)]
_ARTICLES = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")
_THINGS = "airplane automobile bird cat deer dog frog horse ship truck".split()
_HOUSING = "CRIM ZN INDUS CHAS NOX RM AGE DIS RAD TAX PTRATIO B LSTAT MEDV".split()
_N_HOUSING = 506


class _Source(NamedTuple):
    """A data set with its original files."""

    folders: tuple[str, ...]  # folders of which one contains the files
    names: Sequence[str]  # of the targets
    publisher: str
    openml: str
    about: str


_MNIST = _Source(
    folders=("mnist",),
    names=_DIGITS,
    publisher="the MNIST database of handwritten digits, by LeCun, Cortes and Burges",
    openml="mnist_784",
    about="""MNIST handwritten digits

60,000 training and 10,000 test images of 28 x 28 grayscale pixels, labels 0 to 9.
Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document
recognition. Proceedings of the IEEE 86(11), 1998.
""",
)
_FASHION = _Source(
    folders=("fashion_mnist",),
    names=_ARTICLES,
    publisher="the repository zalandoresearch/fashion-mnist on GitHub",
    openml="Fashion-MNIST",
    about="""Fashion-MNIST articles

60,000 training and 10,000 test images of 28 x 28 grayscale pixels, ten classes of clothing of equal
size.
H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms. 2017, arXiv:1708.07747.
""",
)
_CIFAR = _Source(
    folders=("cifar10", "cifar-10-batches-bin"),
    names=_THINGS,
    publisher='the "binary version" of CIFAR-10, by A. Krizhevsky, University of Toronto',
    openml="CIFAR_10",
    about="""CIFAR-10 photographs

50,000 training and 10,000 test colour images of 32 x 32 pixels, ten balanced classes.
A. Krizhevsky: Learning multiple layers of features from tiny images. 2009.
""",
)
_BOSTON = _Source(
    folders=("boston_housing",),
    names=_HOUSING[-1:],
    publisher="the StatLib library and the UCI Machine Learning Repository",
    openml="boston",
    about="""Boston Housing

506 towns and quarters around Boston by 13 features, some whole numbers, none missing. The target
MEDV is the median value of homes in 1000 dollars, cut off at 50.
D. Harrison, D. L. Rubinfeld: Hedonic prices and the demand for clean air. Journal of Environmental
Economics and Management 5, 1978.

Use these rows to compare with published numbers and not as a showcase: the feature B encodes how
many inhabitants of a town are Black, on the premise that this moves prices, and scikit-learn took
the data set out for that reason.
""",
)
_RETURN = """\
return_X_y : bool, default=False
    If True, return ``(data, target)`` instead of a Bunch."""


def _in_words(source: _Source | None = None) -> Callable[[_Loader], _Loader]:
    """Insert the text of common parameters, which the docstring of a loader names in braces."""

    def write(load: _Loader) -> _Loader:
        text = inspect.cleandoc(load.__doc__ or "").replace("{return_X_y}", _RETURN)
        if source is not None:
            folders = " or ".join(f"``{folder}``" for folder in source.folders)
            text = text.replace(
                "{data_home}",
                "data_home : str, path-like or None, default=None\n    Folder that contains the "
                f"folder {folders}; None for that of scikit-learn.",
            )
        load.__doc__ = text
        return load

    return write


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read an array from an IDX file, the format of MNIST, with or without gzip compression.

    A file consists of two zero bytes, one byte for the type of its numbers, one byte for the number
    of dimensions, the shape as big-endian 32-bit integers, and the numbers, big-endian in C order.

    Parameters
    ----------
    path : str or path-like
        Path of the file.

    Returns
    -------
    array : ndarray
        Array of dtype uint8, int8, int16, int32, float32 or float64, in native byte order.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvae.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "two-by-two-idx2-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]))
    ...     read_idx(path)
    array([[1, 2],
           [3, 4]], dtype=uint8)
    """
    with open(path, "rb") as file:
        if file.read(2) != _GZIP_MAGIC:
            file.seek(0)
            return _read_idx(file, path, os.fstat(file.fileno()).st_size)
    try:
        with gzip.open(path) as file:
            return _read_idx(file, path, _MOST_RATIO * os.path.getsize(path))
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}.") from error


def _read_idx(file: BinaryIO | gzip.GzipFile, path: str | os.PathLike, most: int) -> np.ndarray:
    """Read an open IDX file, at most the size given by its header, or `most`."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        raise ValueError(
            f"{path} is not an IDX file: it begins with the bytes {head.hex(' ')!r}, not with two "
            "zeros and a number type."
        )
    dtype, n_dimensions = np.dtype(_IDX_TYPES[head[2]]), head[3]
    if n_dimensions > _MOST_DIMENSIONS:
        raise ValueError(
            f"{path} is an array of {n_dimensions} dimensions; at most {_MOST_DIMENSIONS} are read."
        )
    sizes = file.read(4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        raise ValueError(f"{path} is truncated: it ends within the header.")
    header = 4 + len(sizes)
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    expected = prod(shape) * dtype.itemsize
    content = file.read(min(expected, most) + 1)
    if len(content) != expected:
        raise ValueError(
            f"{path} is {'truncated' if len(content) < expected else 'too long'}: an array of "
            f"shape {shape} and type {dtype.name} takes {header + expected} bytes, the file has "
            f"{header + len(content) if len(content) < expected else 'more'}."
        )
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))  # a writable copy


@_in_words(_MNIST)
def load_mnist(
    *, subset: str = "train", data_home: str | os.PathLike | None = None, return_X_y: bool = False
) -> Any:
    """Load the MNIST digits from their four original files, compressed or not.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The 60,000 training rows or the 10,000 test rows.
    {data_home}
    {return_X_y}

    Returns
    -------
    data : Bunch
        `data` (n, 784), float32 grey levels in [0, 1]; `images`, the same numbers (n, 28, 28);
        `target` (n,), labels; `target_names`; `image_shape`, (1, 28, 28); `DESCR`.

    Examples
    --------
    >>> from skvae.datasets import load_mnist
    >>> try:
    ...     X, y = load_mnist(return_X_y=True)
    ... except FileNotFoundError as error:  # it says what to put where
    ...     assert "train-images-idx3-ubyte" in str(error)
    """
    return _load_idx_pair(_MNIST, subset, data_home, return_X_y)


@_in_words(_FASHION)
def load_fashion_mnist(
    *, subset: str = "train", data_home: str | os.PathLike | None = None, return_X_y: bool = False
) -> Any:
    """Load the Fashion-MNIST articles from their four original files, compressed or not.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The 60,000 training rows or the 10,000 test rows.
    {data_home}
    {return_X_y}

    Returns
    -------
    data : Bunch
        As returned by `load_mnist`; `target_names` are the ten categories of articles.

    Examples
    --------
    >>> from skvae.datasets import load_fashion_mnist
    >>> try:
    ...     X, y = load_fashion_mnist(subset="test", return_X_y=True)
    ... except FileNotFoundError as error:  # it says what to put where
    ...     assert "t10k-images-idx3-ubyte" in str(error)
    """
    return _load_idx_pair(_FASHION, subset, data_home, return_X_y)


@_in_words(_CIFAR)
def load_cifar10(
    *, subset: str = "train", data_home: str | os.PathLike | None = None, return_X_y: bool = False
) -> Any:
    """Load the CIFAR-10 photographs from the files of their original binary version.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The 50,000 training rows (five files) or the 10,000 test rows (one file).
    {data_home}
    {return_X_y}

    Returns
    -------
    data : Bunch
        `data` (n, 3072), float32 in [0, 1], all red values of an image, then green, then blue;
        `images`, the same numbers (n, 32, 32, 3); `target` (n,), labels; `target_names`;
        `image_shape`, (3, 32, 32); `DESCR`.

    Examples
    --------
    >>> from skvae.datasets import load_cifar10
    >>> try:
    ...     X, y = load_cifar10(return_X_y=True)
    ... except FileNotFoundError as error:  # it says what to put where
    ...     assert "data_batch_1.bin" in str(error)
    """
    _check_subset(subset)
    names = ["test_batch.bin"] if subset == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
    paths = _find(_CIFAR, data_home, [(name,) for name in names])
    size = 1 + prod(_CIFAR_SHAPE)
    parts = []
    for path in paths:
        content = np.fromfile(path, np.uint8)
        if not len(content) or len(content) % size:
            raise ValueError(
                f"{path} is not a file of CIFAR-10: its {len(content)} bytes are not a multiple of "
                f"{size}, the size of a label and an image."
            )
        parts.append(content.reshape(-1, size))
    records = np.concatenate(parts)
    target = records[:, 0].astype(np.int64)
    _check_labels(target, _CIFAR.names, paths[0].parent)
    return _image_bunch(
        records[:, 1:], target, _CIFAR.names, _CIFAR_SHAPE, _CIFAR.about, return_X_y
    )


@_in_words(_BOSTON)
def load_boston_housing(
    *, data_home: str | os.PathLike | None = None, return_X_y: bool = False
) -> Any:
    """Load the Boston Housing table from its original file.

    One of its features encodes race: use it only to compare with published results, see `DESCR`.

    Parameters
    ----------
    {data_home}
    {return_X_y}

    Returns
    -------
    data : Bunch
        `data` (506, 13), float64; `target` (506,), home values in 1000 dollars;
        `feature_names` (13,); `target_names`; `DESCR`.

    Examples
    --------
    >>> from skvae.datasets import load_boston_housing
    >>> try:
    ...     X, y = load_boston_housing(return_X_y=True)
    ... except FileNotFoundError as error:  # it says what to put where
    ...     assert "housing.data" in str(error)
    """
    (path,) = _find(_BOSTON, data_home, [("housing.data",)])
    try:
        numbers = np.array(path.read_text(encoding="ascii").split(), dtype=np.float64)
        table = numbers.reshape(_N_HOUSING, len(_HOUSING))
        if not np.isfinite(table).all():
            raise ValueError("some are not finite")
    except ValueError as error:
        raise ValueError(
            f"{path} is not a table of {_N_HOUSING} x {len(_HOUSING)} numbers: {error}."
        ) from error
    data, target = np.ascontiguousarray(table[:, :-1]), table[:, -1].copy()
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        feature_names=np.array(_HOUSING[:-1]),
        target_names=_BOSTON.names,
        DESCR=_BOSTON.about,
    )


@_in_words()
def load_image_patches(
    size: int = 32, n_samples: int = 1000, *, random_state: Any = None, return_X_y: bool = False
) -> Any:
    """Load colour patches, shaped like CIFAR-10, of scikit-learn's two sample photographs.

    Parameters
    ----------
    size : int, default=32
        Height and width in pixels, at most those of the photographs (427 x 640).
    n_samples : int, default=1000
        Number of patches; the photograph and position of each are uniformly distributed.
    random_state : int, RandomState or None, default=None
        Seed of the random patches.
    {return_X_y}

    Returns
    -------
    data : Bunch
        `data` (n_samples, 3 * size * size), float32 in [0, 1], all red values of a patch, then
        green, then blue; `images`, the same numbers (n_samples, size, size, 3); `target`
        (n_samples,), the photograph; `target_names`; `image_shape`, (3, size, size); `DESCR`.

    Examples
    --------
    >>> from skvae.datasets import load_image_patches
    >>> patches = load_image_patches(size=16, n_samples=5, random_state=0)
    >>> patches.data.shape, patches.image_shape
    ((5, 768), (3, 16, 16))
    """
    photographs = load_sample_images()
    names = [Path(name).stem for name in photographs.filenames]
    most = min(min(image.shape[:2]) for image in photographs.images)
    for name, value, limit in (("size", size, most), ("n_samples", n_samples, np.inf)):
        if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= limit:
            upper = "" if np.isinf(limit) else f" and at most {limit}"
            raise ValueError(f"{name} must be an integer of at least 1{upper}, got {value!r}.")
    random = check_random_state(random_state)
    target = random.randint(len(names), size=n_samples)
    pixels = np.empty((n_samples, size, size, 3), np.uint8)
    for patch, which in zip(pixels, target, strict=True):
        image = photographs.images[which]
        top, left = (random.randint(length - size + 1) for length in image.shape[:2])
        patch[...] = image[top : top + size, left : left + size]
    rows = pixels.transpose(0, 3, 1, 2).reshape(n_samples, -1)
    return _image_bunch(rows, target, names, (3, size, size), _PATCHES, return_X_y)


def _load_idx_pair(
    source: _Source,
    subset: str,
    data_home: str | os.PathLike | None,
    return_X_y: bool,
) -> Any:
    """Load images in the layout of MNIST: a file of images and one of labels."""
    _check_subset(subset)
    stems = [f"{_IDX_PARTS[subset]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    wanted = [(stem, f"{stem}.gz") for stem in stems]
    images_path, labels_path = _find(source, data_home, wanted)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{images_path} and {labels_path} have shapes {images.shape} and {labels.shape}, not "
            "(n, height, width) and (n,)."
        )
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise ValueError(
            f"{images_path} and {labels_path} have the types {images.dtype} and {labels.dtype}, "
            "not uint8."
        )
    if not images.size:
        raise ValueError(f"{images_path} has no pixels: its shape is {images.shape}.")
    _check_labels(labels, source.names, labels_path)
    shape = (1, *images.shape[1:])
    rows = images.reshape(len(images), -1)
    target = labels.astype(np.int64)
    return _image_bunch(rows, target, source.names, shape, source.about, return_X_y)


def _check_labels(labels: np.ndarray, names: Sequence[str], path: Path) -> None:
    if labels.max() >= len(names):
        raise ValueError(
            f"{path} has labels up to {labels.max()}; but those of this data set end at "
            f"{len(names) - 1}."
        )


def _image_bunch(
    rows: np.ndarray,
    target: np.ndarray,
    names: Sequence[str],
    shape: tuple[int, int, int],
    description: str,
    return_X_y: bool,
) -> Any:
    """Return a Bunch of rows (n, channels * height * width) as floats in [0, 1]."""
    data = rows.astype(np.float32) / np.float32(255.0)
    if return_X_y:
        return data, target
    images = data.reshape(-1, *shape)
    return Bunch(
        data=data,
        images=images[:, 0] if shape[0] == 1 else images.transpose(0, 2, 3, 1),
        target=target,
        target_names=np.array(names),
        image_shape=shape,
        DESCR=description,
    )


def _check_subset(subset: str) -> None:
    if subset not in ("train", "test"):
        raise ValueError(f"subset must be 'train' or 'test', got {subset!r}.")


def _find(
    source: _Source, data_home: str | os.PathLike | None, wanted: Sequence[tuple[str, ...]]
) -> list[Path]:
    """Return the paths of the files, each under one of its names, all in one of the folders."""
    # the same as scikit-learn's get_data_home, which also creates the folder
    home = data_home or os.environ.get("SCIKIT_LEARN_DATA") or "~/scikit_learn_data"
    places = [Path(home).expanduser() / folder for folder in source.folders]
    for place in places:
        found = [[place / name for name in names if (place / name).is_file()] for names in wanted]
        if all(found):
            return [paths[0] for paths in found]
    raise FileNotFoundError(
        f"looked in {' and '.join(map(str, places))} for the files "
        f"{', '.join(' or '.join(names) for names in wanted)}. The originals are distributed as "
        f"{source.publisher}; nothing is downloaded here. Copy them there, set data_home to "
        f'another folder, or use sklearn.datasets.fetch_openml("{source.openml}").'
    )
