"""Readers of data sets, on tiny files of their formats, and on the real ones where they are."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from skvae import datasets
from skvae.datasets import (
    load_boston_housing,
    load_cifar10,
    load_fashion_mnist,
    load_image_patches,
    load_mnist,
    read_idx,
)

REAL = Path(os.environ.get("SKVAE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array: np.ndarray) -> bytes:
    kind = array.dtype.newbyteorder(">").str.replace("|", "")
    header = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (1, 2, 1, 3), (0, 4)])
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files_of_all_types_and_ranks(tmp_path, dtype, shape, compressed):
    array = np.asarray(np.arange(np.prod(shape)) - 3.0).astype(dtype).reshape(shape)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    for name in (path, str(path)):
        read = read_idx(name)
        assert read.dtype == np.dtype(dtype) and read.dtype.isnative and read.flags.writeable
        np.testing.assert_array_equal(read, array)


def test_a_small_gzip_file_of_much_is_read_no_further_than_its_header_says(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(idx(np.zeros((1, 4), np.uint8)) + bytes(1 << 26)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"too long: .* takes 16 bytes, the file has more"):
        read_idx(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 23
    header = bytes([0, 0, 8, 2]) + bytes([255, 255, 255, 255]) * 2
    for content in (header + bytes(9), gzip.compress(header + bytes(9))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="truncated"):
            read_idx(path)


def test_damaged_idx_files(tmp_path):
    path, whole = tmp_path / "damaged", idx(np.arange(6, dtype=np.uint8).reshape(2, 3))

    def reading(content: bytes):
        path.write_bytes(content)
        return read_idx(path)

    for content, message in [
        (b"", "not an IDX file"),
        (b"PK\3\4" + whole, "not an IDX file"),
        (b"\0\0\x0a\1" + whole[4:], "not an IDX file"),
        (whole[:7], "within the header"),
        (whole[:-1], r"truncated: an array of shape \(2, 3\) and type uint8 takes 18 bytes.* 17"),
        (whole + b"\0", "too long"),
        (bytes([0, 0, 8, 65]) + bytes([0, 0, 0, 1]) * 65 + b"a", "damaged is an array of 65 dim"),
        (gzip.compress(whole)[:-9], "damaged gzip"),
        (gzip.compress(whole)[:-3] + b"abc", "damaged gzip"),
    ]:
        with pytest.raises(ValueError, match=message):
            reading(content)
    n = 32 if np.__version__.startswith("1.") else 64  # what numpy allows
    assert reading(bytes([0, 0, 8, n]) + bytes([0, 0, 0, 1]) * n + b"a").shape == (1,) * n
    with pytest.raises(ValueError, match=f"damaged is an array of {n + 1} dim"):
        reading(bytes([0, 0, 8, n + 1]) + bytes([0, 0, 0, 1]) * (n + 1) + b"a")
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")


def write_mnist(folder: Path, seed: int, compressed: bool = True) -> dict[str, np.ndarray]:
    random, written = np.random.RandomState(seed), {}
    folder.mkdir(parents=True)
    for part, n in (("train", 7), ("t10k", 3)):
        for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            array = random.randint(0, 256 if len(shape) == 3 else 10, shape).astype(np.uint8)
            written[f"{part}-{kind[:6]}"] = array
            name = f"{part}-{kind}-ubyte" + ".gz" * compressed
            (folder / name).write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    return written


@pytest.mark.parametrize(
    ("load", "folder", "name"),
    [(load_mnist, "mnist", "7"), (load_fashion_mnist, "fashion_mnist", "sneaker")],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_mnist(tmp_path, monkeypatch, load, folder, name, compressed):
    written = write_mnist(tmp_path / folder, 0, compressed)
    for subset, part in (("train", "train"), ("test", "t10k")):
        data = load(subset=subset, data_home=tmp_path)
        images, labels = written[f"{part}-images"], written[f"{part}-labels"]
        assert data.data.dtype == np.float32 and data.data.shape == (len(images), 784)
        np.testing.assert_array_equal(np.rint(data.data * 255), images.reshape(-1, 784))
        np.testing.assert_array_equal(data.images.reshape(-1, 784), data.data)
        assert data.data.min() >= 0.0 and data.data.max() <= 1.0
        np.testing.assert_array_equal(data.target, labels)
        assert data.image_shape == (1, 28, 28)
        assert len(data.target_names) == 10 and data.target_names[7] == name
        assert "MNIST" in data.DESCR
        X, y = load(subset=subset, data_home=str(tmp_path), return_X_y=True)
        np.testing.assert_array_equal(X, data.data)
        np.testing.assert_array_equal(y, data.target)
    with monkeypatch.context() as patch:
        patch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
        assert len(load().data) == 7
        patch.delenv("SCIKIT_LEARN_DATA")
        patch.setenv("HOME", str(tmp_path))
        (tmp_path / "scikit_learn_data").symlink_to(tmp_path)
        assert len(load(subset="test").data) == 3
    with pytest.raises(ValueError, match="subset must be 'train' or 'test', got 'all'"):
        load(subset="all", data_home=tmp_path)


def test_files_of_mnist_that_do_not_fit_each_other(tmp_path):
    write_mnist(tmp_path / "mnist", 0, compressed=False)
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.zeros(6, np.uint8)))
    with pytest.raises(ValueError, match=r"shapes \(7, 28, 28\) and \(6,\)"):
        load_mnist(data_home=tmp_path)


def test_files_of_mnist_that_hold_something_else(tmp_path):
    write_mnist(tmp_path / "mnist", 0, compressed=False)
    paths = [tmp_path / "mnist" / f"train-{k}-ubyte" for k in ("images-idx3", "labels-idx1")]
    images, labels = np.zeros((7, 4, 4), np.uint8), np.arange(7, dtype=np.uint8)
    for pair, message in [
        ((images.astype(np.float32), labels), "images-idx3-ubyte .* have the types float32 and"),
        ((images, labels.astype(np.int32)), "the types uint8 and int32, not uint8"),
        ((images, labels + np.uint8(4)), r"labels-idx1-ubyte has labels up to 10; .* end at 9"),
        ((images[:0], labels[:0]), r"images-idx3-ubyte has no pixels: its shape is \(0, 4, 4\)"),
        ((images[:, :0], labels), r"has no pixels: its shape is \(7, 0, 4\)"),
    ]:
        for path, array in zip(paths, pair, strict=True):
            path.write_bytes(idx(array))
        with pytest.raises(ValueError, match=message):
            load_mnist(data_home=tmp_path)


def test_cifar10(tmp_path):
    random = np.random.RandomState(0)
    records = random.randint(0, 256, (6, 2, 3073)).astype(np.uint8)
    records[..., 0] %= 10
    for folder in ("cifar10", "cifar-10-batches-bin"):
        home = tmp_path / folder
        place = home / folder
        place.mkdir(parents=True)
        names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        for name, record in zip(names, records, strict=True):
            (place / name).write_bytes(record.tobytes())
        for subset, expected in (("train", records[:5]), ("test", records[5:])):
            expected = expected.reshape(-1, 3073)
            data = load_cifar10(subset=subset, data_home=home)
            np.testing.assert_array_equal(np.rint(data.data * 255), expected[:, 1:])
            np.testing.assert_array_equal(data.target, expected[:, 0])
            assert data.image_shape == (3, 32, 32) and data.target_names[3] == "cat"
            assert data.images.shape == (len(expected), 32, 32, 3)
            # planes of red, green and blue, line by line
            assert data.images[1, 4, 5, 2] == data.data[1, 2 * 1024 + 4 * 32 + 5]
            assert len(load_cifar10(subset=subset, data_home=home, return_X_y=True)) == 2
    (place / "test_batch.bin").write_bytes(b"\0" * 3000)
    with pytest.raises(ValueError, match="not a multiple of 3073"):
        load_cifar10(subset="test", data_home=home)
    (place / "test_batch.bin").write_bytes(b"\x0b" * 3073)
    with pytest.raises(ValueError, match="labels up to 11"):
        load_cifar10(subset="test", data_home=home)


def test_boston_housing(tmp_path):
    table = np.random.RandomState(0).rand(506, 14).round(3)
    folder = tmp_path / "boston_housing"
    folder.mkdir()
    lines = [" " + "  ".join(map(str, row)) for row in table]
    (folder / "housing.data").write_text("\n".join(lines) + "\n")
    data = load_boston_housing(data_home=tmp_path)
    np.testing.assert_array_equal(data.data, table[:, :13])
    np.testing.assert_array_equal(data.target, table[:, 13])
    assert list(data.feature_names[[0, 12]]) == ["CRIM", "LSTAT"] and data.target_names == ["MEDV"]
    assert "Black" in data.DESCR
    X, _ = load_boston_housing(data_home=tmp_path, return_X_y=True)
    np.testing.assert_array_equal(X, data.data)
    most = "\n".join(lines[:-1])
    for content in (
        "",
        "1 2 3",
        "a " * 14,
        most,
        "\n".join([*lines, lines[0]]),
        most + " nan" * 14,
    ):
        (folder / "housing.data").write_text(content)
        with pytest.raises(ValueError, match=r"housing\.data is not a table of 506 x 14 numbers"):
            load_boston_housing(data_home=tmp_path)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (load_mnist, ["mnist", "train-images-idx3-ubyte.gz", "LeCun", 'fetch_openml("mnist_784")']),
        (load_fashion_mnist, ["fashion_mnist", "train-labels-idx1-ubyte", "zalandoresearch"]),
        (load_cifar10, ["cifar10", "cifar-10-batches-bin", "data_batch_5.bin", "CIFAR_10"]),
        (load_boston_housing, ["boston_housing", "housing.data", "StatLib"]),
    ],
)
def test_absent_files(tmp_path, load, words):
    home = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError) as caught:
        load(data_home=home)
    for word in [str(home), *words]:
        assert word in str(caught.value)
    assert not home.exists()


def test_image_patches():
    data = load_image_patches(24, 40, random_state=3)
    assert data.data.shape == (40, 3 * 24 * 24) and data.data.dtype == np.float32
    assert data.image_shape == (3, 24, 24) and data.images.shape == (40, 24, 24, 3)
    assert set(data.target) == {0, 1} and list(data.target_names) == ["china", "flower"]
    np.testing.assert_array_equal(
        data.data.reshape(-1, *data.image_shape).transpose(0, 2, 3, 1), data.images
    )
    photographs = load_sample_images().images
    for i in range(3):  # each patch is a part of its photograph
        patch = np.rint(data.images[i] * 255)
        photograph = photographs[data.target[i]]
        corners = np.argwhere((photograph[:-23, :-23] == patch[0, 0]).all(axis=2))
        assert any(np.array_equal(photograph[a : a + 24, b : b + 24], patch) for a, b in corners)
    again, y = load_image_patches(24, 40, random_state=3, return_X_y=True)
    np.testing.assert_array_equal(again, data.data)
    np.testing.assert_array_equal(y, data.target)
    assert not np.array_equal(load_image_patches(24, 40, random_state=4).data, data.data)
    assert load_image_patches(427, 1, random_state=0).data.shape == (1, 3 * 427 * 427)
    for bad in ({"size": 0}, {"size": 428}, {"size": 8.0}, {"n_samples": 0}, {"n_samples": True}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be an integer"):
            load_image_patches(**bad)


def test_public_names():
    assert all(callable(getattr(datasets, name)) for name in datasets.__all__)


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real data: set SKVAE_TEST_DATA")
def test_real_files():
    for load, mean in ((load_mnist, 0.1307), (load_fashion_mnist, 0.2860)):
        data = load(data_home=REAL)
        assert data.data.shape == (60000, 784)
        assert data.data.mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
        X, y = load(data_home=REAL, subset="test", return_X_y=True)
        assert X.shape == (10000, 784) and y.shape == (10000,)
    assert np.bincount(load_mnist(data_home=REAL).target)[:3].tolist() == [5923, 6742, 5958]
    data = load_boston_housing(data_home=REAL)
    assert data.data.shape == (506, 13)
    assert data.target.mean() == pytest.approx(22.533, abs=1e-3)
    assert data.target.max() == 50.0
