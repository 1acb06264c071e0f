"""Displays hold what the estimator gives, draw it on the Axes they are given, and nothing else."""

from __future__ import annotations

import inspect
import re
import sys
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from frames import people
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from skvae import (
    GAN,
    PPCA,
    RAE,
    VAE,
    ConditionalVAE,
    InfoGAN,
    MaskAAE,
    NetworkOptions,
    displays,
    interpolate,
    marginal_error,
    pair_error,
)
from skvae.displays import (
    AttributionDisplay,
    InterpolationDisplay,
    LatentManifoldDisplay,
    LatentMaskDisplay,
    LatentSpaceDisplay,
    OutlierScoreDisplay,
    PairsDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    SyntheticDisplay,
    TrainingCurveDisplay,
)

IMAGE = (1, 8, 8)
TINY = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


def fitted(model, X, y=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.data[:300] / 16, data.target[:300]


@pytest.fixture(scope="module")
def wine():
    data = load_wine(as_frame=True)
    return data.data, data.target_names[data.target]


@pytest.fixture(scope="module")
def ppca(digits):
    return PPCA(n_components=4).fit(digits[0])


@pytest.fixture(scope="module")
def vae(digits):
    return fitted(VAE(2, early_stopping=True, **TINY), digits[0])


@pytest.fixture(scope="module")
def pipe(wine):
    return make_pipeline(StandardScaler(), PPCA(n_components=2)).fit(wine[0])


@pytest.fixture(autouse=True)
def no_trace():
    """Figures are closed afterwards, and no display changes matplotlib's settings."""
    before = mpl.rcParams.copy()
    yield
    plt.close("all")
    assert mpl.rcParams == before


def drawn(display):
    """The figure is really rendered, so errors in artists show; then the display itself."""
    display.figure_.canvas.draw()
    return display


def pixels(display):
    return np.asarray(drawn(display).figure_.canvas.buffer_rgba()).copy()


# -- all displays ---------------------------------------------------------------------------------
def all_displays(vae, ppca, digits, ax=None):
    X, y = digits
    return {
        "curve": lambda ax: TrainingCurveDisplay.from_estimator(vae, ax=ax),
        "space": lambda ax: LatentSpaceDisplay.from_estimator(vae, X, y=y, density="prior", ax=ax),
        "reconstruction": lambda ax: ReconstructionDisplay.from_estimator(ppca, X, ax=ax),
        "samples": lambda ax: SamplesDisplay.from_estimator(ppca, random_state=0, ax=ax),
        "ways": lambda ax: InterpolationDisplay.from_estimator(ppca, X[:2], X[2:4], ax=ax),
        "manifold": lambda ax: LatentManifoldDisplay.from_estimator(ppca, n_steps=3, ax=ax),
        "scores": lambda ax: OutlierScoreDisplay.from_estimator(ppca, X, ax=ax),
        "attribution": lambda ax: AttributionDisplay.from_estimator(ppca, X[0], X, ax=ax),
        "mask": lambda ax: LatentMaskDisplay(mask=[0.0, 1.0]).plot(ax),
        "pairs": lambda ax: PairsDisplay.from_estimator(ppca, X, random_state=0, ax=ax),
        "synthetic": lambda ax: SyntheticDisplay.from_frames(people(40), people(30, 1), ax=ax),
    }


NAMES = list(all_displays(None, None, (None, None)))


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_used_or_made(name, vae, ppca, digits):
    draw = all_displays(vae, ppca, digits)[name]
    made = drawn(draw(None))
    assert made.figure_ is not None and plt.get_fignums() == [made.figure_.number]
    figure, axes = plt.subplots(1, 2, layout="constrained")
    display = drawn(draw(axes[1]))
    assert display.figure_ is figure and len(plt.get_fignums()) == 2
    assert getattr(display, "ax_", getattr(display, "bounding_ax_", None)) is axes[1]
    assert not axes[0].has_data()
    with plt.style.context("dark_background"):
        again = display.plot()
        assert again is display and display.figure_ is not figure
        image = pixels(display)[..., :3]
    assert image[0, 0].max() == 0 and image.max() > 200  # light ink on a dark ground


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("mask", "synthetic")])
def test_estimators_must_be_fitted_and_able(name, digits):
    unfitted = VAE(2)
    with pytest.raises(NotFittedError):
        all_displays(unfitted, unfitted, digits)[name](None)
    other = DummyClassifier().fit(*digits)
    with pytest.raises(TypeError, match=r"estimator has no \w+, which this display needs"):
        all_displays(other, other, digits)[name](None)
    assert not plt.get_fignums()


def test_without_matplotlib(monkeypatch):
    display = LatentMaskDisplay(mask=[1.0])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.pyplot", None)
        with pytest.raises(ImportError, match=r'pip install "skvae\[displays\]"'):
            display.plot()


@pytest.mark.parametrize("name", displays.__all__)
def test_docstrings_are_written_out(name):
    cls = getattr(displays, name)
    make = cls.from_frames if cls is SyntheticDisplay else cls.from_estimator
    for thing in (cls, make, cls.plot):
        assert not re.search(r"^ *\{.*\}$", thing.__doc__, re.MULTILINE)
    listed = make.__doc__.count("ax : Axes or None, default=None\n    ")
    assert listed == cls.plot.__doc__.count("ax : Axes or None, default=None\n    ") == 1
    listed = set(re.findall(r"^(\w+(?:, \w+)*) : ", cls.__doc__, re.MULTILINE))
    assert set(inspect.signature(cls).parameters) <= {n for g in listed for n in g.split(", ")}


# -- training -------------------------------------------------------------------------------------
def test_training_curve(vae):
    display = TrainingCurveDisplay.from_estimator(vae)
    assert display.parts.keys() == vae.history_.keys() == {"reconstruction", "kl"}
    for name, values in vae.history_.items():
        np.testing.assert_array_equal(display.part_lines_[name].get_ydata(), values)
    np.testing.assert_array_equal(display.loss_line_.get_ydata(), vae.loss_curve_)
    np.testing.assert_array_equal(display.loss_line_.get_xdata(), [1, 2, 3])
    checks = display.validation_line_
    np.testing.assert_array_equal(checks.get_ydata(), -np.asarray(vae.validation_scores_))
    assert checks.get_xdata()[-1] == 3
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["loss", "reconstruction", "kl", "loss of held-out rows"]
    for scale in ("linear", "log", "symlog"):
        assert display.plot(scale=scale).ax_.get_yscale() == scale
    pipeline = make_pipeline(StandardScaler(), clone(vae)).set_params(vae__early_stopping=False)
    again = TrainingCurveDisplay.from_estimator(fitted(pipeline, np.eye(12)))
    assert again.validation_line_ is None


def test_the_scale_of_losses_suits_their_sizes():
    def scale(*parts):
        curves = {str(i): np.full(5, part) for i, part in enumerate(parts)}
        return drawn(TrainingCurveDisplay(parts=curves, loss=np.ones(5)).plot()).ax_.get_yscale()

    assert scale(0.5, 2.0) == scale(-1.0, 2.0) == scale(0.0) == "linear"
    assert scale(0.01) == "log"
    assert scale(0.01, -5.0) == scale(0.01, 0.0) == "symlog"


def test_bad_training_curves():
    with pytest.raises(ValueError, match=r"parts\['a'\] has shape \(2,\), but loss has \(3,\)"):
        TrainingCurveDisplay(parts={"a": [1, 2]}, loss=[1, 2, 3])
    with pytest.raises(ValueError, match="loss must contain"):
        TrainingCurveDisplay(parts={}, loss=[])
    with pytest.raises(ValueError, match="scale must be"):
        TrainingCurveDisplay(parts={}, loss=[1]).plot(scale="wide")
    with pytest.raises(ValueError, match="needs positive losses"):
        TrainingCurveDisplay(parts={}, loss=[-1]).plot(scale="log")


def test_games_and_closed_forms(wine, pipe):
    display = TrainingCurveDisplay.from_estimator(fitted(GAN(2, **TINY), wine[0]))
    assert {"generator", "critic"} <= display.part_lines_.keys()
    with pytest.raises(TypeError, match="no history_"):
        TrainingCurveDisplay.from_estimator(pipe)


# -- codes ----------------------------------------------------------------------------------------
def test_codes_in_the_plane(vae, ppca, digits):
    X, y = digits
    display = drawn(LatentSpaceDisplay.from_estimator(vae, X, y=y))
    np.testing.assert_array_equal(display.codes, vae.transform(X))
    assert len(display.artists_) == 10 and display.contours_ is None
    looks = set()
    for label, points in zip(range(10), display.artists_, strict=True):
        np.testing.assert_allclose(points.get_offsets(), display.codes[y == label])
        looks.add((points.get_paths()[0].vertices.tobytes(), tuple(points.get_facecolor()[0])))
    assert len(looks) == 10
    assert len({shape for shape, _ in looks}) == 10  # markers alone tell labels, too
    chosen = LatentSpaceDisplay.from_estimator(ppca, X, components=(3, 1))
    np.testing.assert_array_equal(chosen.codes, ppca.transform(X)[:, [3, 1]])
    assert (chosen.ax_.get_xlabel(), chosen.ax_.get_ylabel()) == ("code 3", "code 1")
    continuous = LatentSpaceDisplay.from_estimator(vae, X, y=X.sum(axis=1), cmap="gray", s=3)
    assert continuous.colorbar_ is not None and continuous.artists_[0].get_cmap().name == "gray"
    np.testing.assert_allclose(continuous.artists_[0].get_array(), X.sum(axis=1))
    assert continuous.artists_[0].get_sizes() == [3]
    many = LatentSpaceDisplay.from_estimator(vae, X, y=np.arange(300))
    assert many.colorbar_ is not None
    words = LatentSpaceDisplay.from_estimator(vae, X, y=np.where(y > 4, "high", "low"))
    assert [t.get_text() for t in words.ax_.get_legend().get_texts()] == ["high", "low"]


def test_density_of_codes(vae, ppca, digits):
    X, _ = digits
    display = drawn(LatentSpaceDisplay.from_estimator(ppca, X, density="prior"))
    a, b = display.grid
    np.testing.assert_allclose(display.density, np.outer(norm.pdf(a), norm.pdf(b)))
    # the sets of a normal plane: radius^2 = -2 log(1 - share)
    radii = {}
    for share, path in zip((0.99, 0.9, 0.5), display.contours_.get_paths(), strict=True):
        radii[share] = np.linalg.norm(path.vertices, axis=1).mean()
        assert radii[share] == pytest.approx(np.sqrt(-2 * np.log(1 - share)), rel=0.03)
    one = display.plot(shares=(0.3,))
    assert len(one.contours_.levels) == 1
    of_codes = LatentSpaceDisplay.from_estimator(ppca, X, density="codes")
    area = np.prod([grid[1] - grid[0] for grid in of_codes.grid])
    assert of_codes.density.sum() * area == pytest.approx(1.0, abs=0.05)
    assert not np.allclose(of_codes.density, display.density)


def closed_form(display):
    for share, path in zip((0.99, 0.9, 0.5), display.contours_.get_paths(), strict=True):
        radius = np.linalg.norm(path.vertices, axis=1)
        np.testing.assert_allclose(radius, np.sqrt(-2 * np.log(1 - share)), rtol=0.01)


def cloud(n=300, k=2):
    return np.random.RandomState(0).randn(n, k)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 1000.0, 1e9])
@pytest.mark.parametrize("far", [False, True])
def test_the_prior_is_right_wherever_codes_lie(scale, far):
    codes = cloud() * scale
    if far:
        codes[7] = (500.0 * scale, -500.0 * scale)
    display = drawn(LatentSpaceDisplay.from_codes(codes, density="prior"))
    cell = np.prod([axis[1] - axis[0] for axis in display.grid])
    assert display.density.sum() * cell == pytest.approx(1.0, abs=1e-4)
    closed_form(display)
    reach = np.abs([display.ax_.get_xlim(), display.ax_.get_ylim()]).max()
    assert reach < 4.5 * max(scale, 1.0)
    assert display.n_outside_ == int(far and scale > 1e-3)
    assert bool(display.ax_.get_title("right")) == (display.n_outside_ > 0)


def test_far_codes():
    codes = cloud()
    codes[3] = (500.0, -500.0)
    display = drawn(LatentSpaceDisplay.from_codes(codes, y=codes[:, 0] > 0, density="codes"))
    assert display.ax_.get_title("right") == "1 of 300 codes outside"
    others = LatentSpaceDisplay.from_codes(np.delete(codes, 3, axis=0), density="codes")
    np.testing.assert_allclose(display.density, others.density, rtol=0.01, atol=1e-4)
    codes[:30] *= 500  # not a few: all are shown
    display = drawn(LatentSpaceDisplay.from_codes(codes))
    assert display.n_outside_ == 0 and display.ax_.get_xlim()[1] >= codes[:, 0].max()
    line = drawn(LatentSpaceDisplay.from_codes(np.append(cloud(k=1), [[900.0]], axis=0)))
    assert line.n_outside_ == 1 and line.ax_.get_xlim()[1] < 5
    heights = [bar.get_height() for bar in line.artists_[0]]
    assert sum(h > 0 for h in heights) > 20  # the far code takes no bar, but counts
    assert np.dot(heights, [bar.get_width() for bar in line.artists_[0]]) == pytest.approx(
        300 / 301
    )
    same = drawn(LatentSpaceDisplay.from_codes(np.ones((9, 2))))
    assert same.n_outside_ == 0


def test_levels_of_flat_densities():
    axis = np.linspace(0.0, 1.0, 10)
    steps = np.where(np.arange(10) < 5, 1.0, 0.1)[:, None] * np.ones(10)
    options = {"codes": cloud(), "grid": (axis, axis), "density": np.ones((10, 10))}
    assert drawn(LatentSpaceDisplay(**options).plot()).contours_ is None
    steps[2, 2] = 2.0
    options["density"] = steps
    display = drawn(LatentSpaceDisplay(**options).plot(shares=(0.5, 0.2, 0.2)))
    assert display.contours_.levels.tolist() == [1.0]
    assert {t.get_text() for t in display.contours_.labelTexts} <= {"50 %, 20 %"}


def test_density_of_draws(digits):
    model = fitted(RAE(2, **TINY), digits[0])
    display = LatentSpaceDisplay.from_estimator(model, digits[0], density="prior")
    area = np.prod([grid[1] - grid[0] for grid in display.grid])
    assert display.density.sum() * area == pytest.approx(1.0, abs=0.05)
    draws = model._draw_codes(4096, 1)
    mean = np.tensordot(display.grid[0], display.density.sum(axis=1), 1) * area
    assert mean == pytest.approx(draws[:, 0].mean(), abs=4 * draws[:, 0].std() / 60)
    again = LatentSpaceDisplay.from_estimator(model, digits[0], density="prior", random_state=1)
    assert not np.array_equal(display.density, again.density)
    with pytest.raises(TypeError, match="needs a model with a latent distribution"):
        LatentSpaceDisplay.from_estimator(PCA(2).fit(digits[0]), digits[0], density="prior")


def test_codes_on_the_line(digits):
    X, y = digits
    model = PPCA(n_components=1).fit(X)
    display = drawn(LatentSpaceDisplay.from_estimator(model, X, y=y, density="prior", bins=7))
    codes = model.transform(X)[:, 0]
    heights, edges = np.histogram(codes, 7, density=True)
    stacked = np.sum([[bar.get_height() for bar in bars] for bars in display.artists_], axis=0)
    np.testing.assert_allclose(stacked, heights)
    np.testing.assert_allclose([bar.get_x() for bar in display.artists_[0]], edges[:-1])
    np.testing.assert_allclose(display.contours_.get_ydata(), norm.pdf(display.grid[0]))
    assert len({bars[0].get_hatch() for bars in display.artists_}) == 10
    continuous = drawn(LatentSpaceDisplay.from_codes(codes[:, None], y=codes, density="codes"))
    assert continuous.colorbar_ is not None
    one_of_two = LatentSpaceDisplay.from_codes(np.c_[codes, -codes], components=1)
    np.testing.assert_array_equal(one_of_two.codes[:, 0], -codes)
    assert one_of_two.ax_.get_xlabel() == "code 1"


def test_one_row_of_codes():
    for width in (1, 2, 3):
        codes = np.zeros((1, width))
        assert len(drawn(LatentSpaceDisplay.from_codes(codes, density="prior")).codes) == 1
        with pytest.raises(ValueError, match="the density of the codes cannot be estimated"):
            LatentSpaceDisplay.from_codes(codes, density="codes")


def test_bad_codes(digits):
    codes = np.random.RandomState(0).randn(5, 3)
    for options, message in [
        (
            {"components": (0, 3)},
            "components must be one or two different indices of the 3 latent coordinates",
        ),
        ({"components": (1, 1)}, "components must be"),
        ({"components": (0, 1, 2)}, "components must be"),
        ({"density": "kernel"}, "density must be None, 'prior' or 'codes', got 'kernel'"),
        ({"prior_samples": codes}, "prior_samples can be given only with density='prior'"),
        (
            {"prior_samples": codes[:, :2], "density": "prior"},
            "prior_samples has 2 features, but 3",
        ),
        ({"y": [1, 2]}, "inconsistent numbers of samples"),
        ({"density": "prior", "shares": (1.5,)}, "shares must lie between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            LatentSpaceDisplay.from_codes(codes, **options)
    with pytest.raises(ValueError, match=r"codes must have the shape .*, got \(3,\)"):
        LatentSpaceDisplay.from_codes(codes[0])
    with pytest.raises(ValueError, match="1 or 2 columns"):
        LatentSpaceDisplay(codes=codes)


def test_latent_mask(wine):
    model = fitted(MaskAAE(5, **TINY), wine[0])
    display = drawn(LatentMaskDisplay.from_estimator(model))
    np.testing.assert_array_equal(display.mask, model.mask_)
    assert display.n_kept == model.n_active_
    heights = [bar.get_height() for bar in display.bars_]
    np.testing.assert_array_equal(heights, np.sort(model.mask_)[::-1])
    shares = np.random.RandomState(0).rand(60)
    strict = drawn(LatentMaskDisplay(mask=shares, threshold=0.5).plot())
    assert strict.n_kept == (shares >= 0.5).sum()
    assert strict.line_.get_ydata()[0] == 0.5
    assert f"{strict.n_kept} of 60" in strict.ax_.get_title()
    hatches = [bar.get_hatch() is None for bar in strict.bars_]
    assert sum(hatches) == strict.n_kept and hatches == sorted(hatches, reverse=True)
    for bad in ([], [[0.1]], [1.5], [-0.1]):
        with pytest.raises(ValueError, match="mask must"):
            LatentMaskDisplay(mask=bad)
    with pytest.raises(ValueError, match="threshold must"):
        LatentMaskDisplay(mask=[0.1], threshold=2.0)


# -- rows -----------------------------------------------------------------------------------------
def test_reconstructed_pictures(ppca, digits):
    X, _ = digits
    display = drawn(
        ReconstructionDisplay.from_estimator(ppca, X, n_rows=5, image_shape=IMAGE, n_columns=3)
    )
    np.testing.assert_array_equal(display.X, X[:5])
    np.testing.assert_array_equal(display.reconstruction, ppca.reconstruct(X[:5]))
    canvas = display.image_.get_array()
    assert canvas.shape == (4 * 9 - 1, 3 * 9 - 1)  # pictures and the pixel between them
    np.testing.assert_allclose(canvas[:8, 9:17], X[1].reshape(8, 8))
    np.testing.assert_allclose(canvas[27:35, :8], display.reconstruction[3].reshape(8, 8))
    assert np.isnan(np.ma.filled(canvas, np.nan)[:, 8]).all()
    assert display.image_.get_clim() == (X[:5].min(), X[:5].max())
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["original", "reconstructed"] * 2
    other = display.plot(cmap="gray_r", vmin=-1, vmax=2)
    assert other.image_.get_cmap().name == "gray_r" and other.image_.get_clim() == (-1, 2)
    with pytest.raises(ValueError, match="must be less than"):
        display.plot(vmin=1, vmax=0)


def test_what_was_seen(ppca, digits):
    X, _ = digits
    seen = X[::-1]
    display = ReconstructionDisplay.from_estimator(ppca, X, X_seen=seen, n_rows=2)
    np.testing.assert_array_equal(display.reconstruction, ppca.reconstruct(seen[:2]))
    np.testing.assert_array_equal(display.X_seen, seen[:2])
    assert len(drawn(display).lines_[0]) == 3
    pictures = ReconstructionDisplay(
        X=X[:2], reconstruction=X[:2], X_seen=seen[:2], image_shape=IMAGE
    ).plot()
    assert pictures.image_.get_array().shape == (3 * 9 - 1, 2 * 9 - 1)


def test_the_image_shape_of_an_estimator(ppca, digits, monkeypatch):
    monkeypatch.setattr(ppca, "image_shape_", IMAGE, raising=False)
    X, _ = digits
    assert ReconstructionDisplay.from_estimator(ppca, X).image_shape == IMAGE
    assert SamplesDisplay.from_estimator(ppca).image_shape == IMAGE
    assert InterpolationDisplay.from_estimator(ppca, X[:1], X[1:2]).image_shape == IMAGE
    assert LatentManifoldDisplay.from_estimator(ppca).image_shape == IMAGE
    assert AttributionDisplay.from_estimator(ppca, X[0], X).image_shape == IMAGE
    other = SamplesDisplay.from_estimator(ppca, image_shape=(1, 4, 16))
    assert other.image_shape == (1, 4, 16)


def image_model(channels):
    images = np.random.RandomState(0).rand(30, channels, 8, 8)
    model = VAE(
        2,
        network=NetworkOptions(hidden_channels=(4,)),
        hidden_layer_sizes=(8,),
        max_iter=2,
        random_state=0,
    )
    return fitted(model, images), images


def displays_of_images(model, images):
    pairs = {"reference": images, "n_steps": 4}
    yield ReconstructionDisplay.from_estimator(model, images, X_seen=images[::-1])
    yield SamplesDisplay.from_estimator(model, 5, reference=images, random_state=0)
    yield InterpolationDisplay.from_estimator(model, images[:2], images[2:4], **pairs)
    yield LatentManifoldDisplay.from_estimator(model, **pairs)
    yield LatentManifoldDisplay.from_estimator(model, components=1, **pairs)
    for x in (images[0], images[:1]):
        yield AttributionDisplay.from_estimator(model, x, images)
    yield PairsDisplay.from_estimator(model, images, features=[0, 60], random_state=0)
    yield LatentSpaceDisplay.from_estimator(model, images, density="prior")
    yield OutlierScoreDisplay.from_estimator(model, images)
    yield TrainingCurveDisplay.from_estimator(model)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_in_four_axes(channels):
    model, images = image_model(channels)
    shape = model.image_shape_ if channels in (1, 3) else None  # a table
    for display in displays_of_images(model, images):
        drawn(display)
        if hasattr(display, "image_shape"):
            assert display.image_shape == shape
        plt.close("all")
    display = ReconstructionDisplay.from_estimator(model, images, n_rows=3)
    np.testing.assert_array_equal(display.X, images[:3].reshape(3, -1))
    if shape is None:
        with pytest.raises(ValueError, match=f"has {channels} channels"):
            SamplesDisplay.from_estimator(model, image_shape=model.image_shape_)


def test_images_given_to_the_displays_themselves():
    images = np.random.RandomState(0).rand(3, 1, 8, 8)
    display = ReconstructionDisplay(X=images, reconstruction=images, image_shape=IMAGE)
    assert drawn(display.plot()).reconstruction.shape == (3, 64)
    one = AttributionDisplay(shares=images[0], usual=images[1], row=images[2], image_shape=IMAGE)
    np.testing.assert_array_equal(one.row, images[2].ravel())
    with pytest.raises(ValueError, match=r"samples must have the shape .* got \(1, 8, 8\)"):
        SamplesDisplay(samples=images[0])


def test_colour_pictures():
    rows = np.random.RandomState(0).rand(3, 3 * 4 * 5)
    display = drawn(SamplesDisplay(samples=rows, image_shape=(3, 4, 5)).plot(vmin=0, vmax=1))
    canvas = display.image_.get_array()
    assert canvas.shape == (4, 3 * 6 - 1, 4)
    np.testing.assert_allclose(canvas[:, 6:11, :3], rows[1].reshape(3, 4, 5).transpose(1, 2, 0))
    assert canvas[:, 5, 3].max() == 0.0  # nothing between pictures


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8), "image_shape must be"),
        ((1, 8, 8.0), "image_shape must be"),
        ((1, -8, -8), "image_shape must be"),
        ((2, 4, 8), "has 2 channels"),
        ((1, 8, 9), "makes 72 features, but rows have 64"),
    ],
)
def test_bad_image_shapes(shape, message):
    with pytest.raises(ValueError, match=message):
        SamplesDisplay(samples=np.zeros((2, 64)), image_shape=shape)


def test_profiles_in_a_pipeline(pipe, wine):
    X, _ = wine
    display = drawn(ReconstructionDisplay.from_estimator(pipe, X, n_rows=3))
    rebuilt = pipe[0].inverse_transform(pipe[-1].reconstruct(pipe[0].transform(X[:3])))
    np.testing.assert_allclose(display.reconstruction, rebuilt)
    assert display.feature_names == list(X.columns)
    names = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert names == list(X.columns)
    z = (X.to_numpy() - X.to_numpy().mean(axis=0)) / X.to_numpy().std(axis=0)
    for i, (original, _) in enumerate(display.lines_):
        profile = original.get_ydata()
        np.testing.assert_allclose(np.diff(profile), np.diff(z[i]), atol=1e-9)
    own_names = ReconstructionDisplay.from_estimator(pipe, X, feature_names=list("abcdefghijklm"))
    assert own_names.feature_names[0] == "a"
    raw = ReconstructionDisplay(X=X, reconstruction=X, reference=X[:1])
    assert raw.feature_names[0] == "x0"
    assert "units of X" in drawn(raw.plot()).ax_.get_xlabel()


@pytest.mark.parametrize("d", [1, 2, 30, 64, 10_000])
@pytest.mark.parametrize("n", [1, 6])
def test_tables_of_any_width(n, d):
    rows = np.random.RandomState(0).randn(n, d)
    display = drawn(ReconstructionDisplay(X=rows, reconstruction=rows + 1.0).plot())
    assert len(display.lines_) == (1 if d == 1 else n)
    original, rebuilt = display.lines_[0]
    scale = rows.std(axis=0) if n > 1 else np.ones(d)
    distance = np.sort(rebuilt.get_ydata() - original.get_ydata())
    np.testing.assert_allclose(distance, np.sort(np.repeat(1 / scale, n) if d == 1 else 1 / scale))
    if d > 40 and n > 1:
        assert (np.diff(original.get_ydata()) >= 0).all()
    texts = [t for t in display.ax_.get_xticklabels() if t.get_text()]
    assert len(texts) <= 40
    samples = drawn(SamplesDisplay(samples=rows).plot())
    assert samples.image_.get_array().shape == (d, n)
    pairs = drawn(PairsDisplay(X=rows, samples=rows + 1).plot())
    assert pairs.axes_.shape == (min(d, 4),) * 2
    ways = drawn(InterpolationDisplay(rows=rows[:, None]).plot())
    assert ways.image_.get_array().shape == (d, n)
    bars = drawn(AttributionDisplay(shares=rows[0], usual=0 * rows[0], row=rows[0]).plot())
    assert len(bars.bars_) == min(d, 10)


def test_samples(ppca, pipe, wine, digits):
    display = drawn(SamplesDisplay.from_estimator(ppca, 7, random_state=3, image_shape=IMAGE))
    np.testing.assert_array_equal(display.samples, ppca.sample(7, 3, noise=False))
    assert display.image_.get_array().shape == (8, 7 * 9 - 1)
    grainy = SamplesDisplay.from_estimator(ppca, 7, random_state=3, image_shape=IMAGE, noise=True)
    np.testing.assert_array_equal(grainy.samples, ppca.sample(7, 3))
    with pytest.raises(ValueError, match="noise must be True, False or 'auto', got 'no'"):
        SamplesDisplay.from_estimator(ppca, noise="no")
    narrow = display.plot(n_columns=2, cmap="gray_r", vmin=0.0)
    assert narrow.image_.get_array().shape == (4 * 9 - 1, 2 * 9 - 1)
    assert narrow.image_.get_cmap().name == "gray_r" and narrow.image_.get_clim()[0] == 0.0
    X, _ = wine
    table = drawn(SamplesDisplay.from_estimator(pipe, 9, random_state=3, reference=X, vmax=5))
    rows = pipe[0].inverse_transform(pipe[-1].sample(9, 3))
    np.testing.assert_allclose(table.samples, rows)
    scaled = (rows - X.to_numpy().mean(axis=0)) / X.to_numpy().std(axis=0)
    np.testing.assert_allclose(table.image_.get_array(), scaled.T)
    assert table.image_.get_clim() == (-3, 5)
    assert [t.get_text() for t in table.ax_.get_yticklabels()] == list(X.columns)


def test_samples_of_labels(digits):
    X, y = digits
    model = fitted(ConditionalVAE(2, **TINY), X, y)
    display = drawn(
        SamplesDisplay.from_estimator(model, 3, y=[7, 2], random_state=0, image_shape=IMAGE)
    )
    expected = model.sample(6, 0, y=[7, 7, 7, 2, 2, 2], noise=False)
    np.testing.assert_array_equal(display.samples, expected)
    assert display.y.tolist() == [7, 7, 7, 2, 2, 2]
    assert display.image_.get_array().shape == (2 * 9 - 1, 3 * 9 - 1)
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["7", "2"]
    two_lines = display.plot(n_columns=2)
    assert [t.get_text() for t in two_lines.ax_.get_yticklabels()] == ["7", "", "2", ""]
    table = drawn(SamplesDisplay.from_estimator(model, 3, y=[7, 2]))
    assert [t.get_text() for t in table.ax_.get_xticklabels()] == ["7", "2"]
    with pytest.raises(ValueError, match="y lists the label 7 more than once"):
        SamplesDisplay.from_estimator(model, 4, y=[7, 2, 7])
    with pytest.raises(TypeError, match="y needs a conditional model"):
        SamplesDisplay.from_estimator(PPCA(1).fit(X), y=[1])
    with pytest.raises(ValueError, match="adjacent"):
        SamplesDisplay(samples=X[:3], y=[1, 2, 1])
    with pytest.raises(ValueError, match=r"y has shape \(2,\) for 3 samples"):
        SamplesDisplay(samples=X[:3], y=[1, 2])


def test_pipelines_that_do_not_go_back(wine):
    X, _ = wine
    features = PolynomialFeatures(interaction_only=True)
    one_way = make_pipeline(features, PPCA(1)).fit(X)
    for draw in (
        lambda: SamplesDisplay.from_estimator(one_way),
        lambda: ReconstructionDisplay.from_estimator(one_way, X),
        lambda: PairsDisplay.from_estimator(one_way, X),
    ):
        with pytest.raises(TypeError, match="that has no inverse_transform"):
            draw()
    alone = make_pipeline(PPCA(1)).fit(X)
    assert SamplesDisplay.from_estimator(alone).samples.shape == (20, 13)
    # where rows need not come back, it does
    assert LatentSpaceDisplay.from_estimator(one_way, X).codes.shape == (178, 1)
    assert "alcohol ash" in AttributionDisplay.from_estimator(one_way, X[:1], X).feature_names


def test_interpolation(ppca, pipe, digits, wine):
    X, _ = digits
    options = {"n_steps": 5, "method": "spherical", "image_shape": IMAGE}
    display = drawn(InterpolationDisplay.from_estimator(ppca, X[:2], X[2:4], **options))
    Z = ppca.transform(X[:4])
    for i in range(2):
        codes = interpolate(Z[i], Z[i + 2], 5, method="spherical")
        np.testing.assert_allclose(display.rows[i], ppca.inverse_transform(codes))
    assert display.image_.get_array().shape == (2 * 9 - 1, 5 * 9 - 1)
    straight = InterpolationDisplay.from_estimator(ppca, X[:2], X[2:4], n_steps=5)
    assert not np.allclose(straight.rows, display.rows)
    assert display.plot(cmap="gray_r", vmax=2).image_.get_clim()[1] == 2
    T, _ = wine
    table = drawn(InterpolationDisplay.from_estimator(pipe, T[:2], T[-2:], reference=T))
    np.testing.assert_allclose(
        table.rows[:, [0, -1]],
        np.stack([pipe.inverse_transform(pipe.transform(t)) for t in (T[:2], T[-2:])], axis=1),
    )
    scaled = (table.rows[1, 3] - T.to_numpy().mean(axis=0)) / T.to_numpy().std(axis=0)
    np.testing.assert_allclose(table.image_.get_array()[:, 13], scaled)
    with pytest.raises(ValueError, match="start and end must have the same number of rows"):
        InterpolationDisplay.from_estimator(ppca, X[:2], X[:3])
    with pytest.raises(ValueError, match="rows must be finite, of shape"):
        InterpolationDisplay(rows=X)


def test_manifold(ppca, pipe, wine):
    at = np.array([0.5, 0.0, -1.0, 2.0])
    display = drawn(
        LatentManifoldDisplay.from_estimator(
            ppca, components=(3, 1), n_steps=5, coverage=0.8, at=at, image_shape=IMAGE
        )
    )
    values = norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(display.values, values, atol=1e-12)
    code = at.copy()
    code[3], code[1] = values[4], values[2]  # the first component runs to the right
    np.testing.assert_allclose(display.rows[2, 4], ppca.inverse_transform(code[None])[0])
    canvas = display.image_.get_array()
    np.testing.assert_allclose(canvas[-8:, :8], display.rows[0, 0].reshape(8, 8))  # upward
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("code 3", "code 1")
    assert "-0.00" not in [t.get_text() for t in display.ax_.get_xticklabels()]
    strip = drawn(
        LatentManifoldDisplay.from_estimator(ppca, components=2, n_steps=4, image_shape=IMAGE)
    )
    assert strip.rows.shape == (4, 64) and strip.image_.get_array().shape == (8, 4 * 9 - 1)
    X, _ = wine
    plane = drawn(LatentManifoldDisplay.from_estimator(pipe, feature="proline", n_steps=6))
    np.testing.assert_allclose(plane.image_.get_array(), plane.rows[..., -1])
    np.testing.assert_allclose(plane.plot().image_.get_array(), plane.rows[..., 0])
    heat = drawn(LatentManifoldDisplay.from_estimator(pipe, components=1, reference=X, vmin=-2))
    assert heat.image_.get_array().shape == (13, 15) and heat.image_.get_clim() == (-2, 3)
    generator = fitted(GAN(1, **TINY), X)
    assert LatentManifoldDisplay.from_estimator(generator).rows.shape == (15, 13)
    info = fitted(InfoGAN(1, n_categories=2, n_continuous=1, **TINY), X)
    assert LatentManifoldDisplay.from_estimator(info, components=2).rows.shape == (15, 13)


def test_bad_manifolds(ppca):
    for options, message in [
        ({"components": 4}, "indices of the 4 latent coordinates"),
        ({"n_steps": 1}, "n_steps must be an integer of at least 2"),
        ({"coverage": 1.0}, "coverage must lie between 0 and 1"),
        ({"at": [0.0]}, "at must have 4 values"),
        ({"feature": 64}, "feature index 64 is out of range for 64"),
        ({"feature": "x64"}, "'x64' is not among the feature names"),
        ({"feature": 1.5}, "an index or a feature name"),
        ({"feature": 0, "image_shape": IMAGE}, "feature goes with tables"),
        ({"feature": 0, "components": 1}, "feature goes with tables"),
    ]:
        with pytest.raises(ValueError, match=message):
            LatentManifoldDisplay.from_estimator(ppca, **options)
    with pytest.raises(ValueError, match="rows must be finite, of shape"):
        LatentManifoldDisplay(rows=np.zeros((3, 2, 4)), values=[0, 1, 2])


# -- scores ---------------------------------------------------------------------------------------
def test_outlier_scores(ppca, digits):
    X, y = digits
    noise = np.random.RandomState(0).rand(50, 64)
    display = drawn(OutlierScoreDisplay.from_estimator(ppca, {"digits": X, "noise": noise}))
    np.testing.assert_array_equal(display.scores["digits"], ppca.score_samples(X))
    assert display.threshold == ppca.offset_
    assert display.threshold_line_.get_xdata()[0] == ppca.offset_
    for name, shares in display.shares_.items():
        assert shares.sum() == pytest.approx(1.0)
        np.testing.assert_array_equal(display.artists_[name].get_data().values, shares)
    below = np.mean(display.scores["noise"] < display.edges_[1])
    assert display.clipped_ and display.shares_["noise"][0] == pytest.approx(below)
    assert display.edges_[0] < ppca.offset_ < display.edges_[-1]
    first = display.ax_.get_xticklabels()[0].get_text()
    assert first == f"< {display.edges_[1]:.3g}"
    legend = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    share = np.mean(display.scores["noise"] < ppca.offset_)
    assert legend[1] == f"noise ({share:.1%} of 50 below)"
    by_label = OutlierScoreDisplay.from_estimator(ppca, X, y=y)
    assert list(by_label.scores) == [str(i) for i in range(10)]
    np.testing.assert_allclose(by_label.scores["3"], ppca.score_samples(X[y == 3]), rtol=1e-12)
    assert list(OutlierScoreDisplay.from_estimator(ppca, X).scores) == ["rows"]


def test_heavy_tails_do_not_squash_the_picture():
    random = np.random.RandomState(0)
    usual = random.randn(1000)
    tail = np.concatenate([[-np.inf], -1e6 * random.rand(99)])
    display = drawn(OutlierScoreDisplay(scores={"usual": usual, "odd": tail}, threshold=-4).plot())
    assert -12 < display.edges_[0] < -4 and display.shares_["odd"][0] == 1.0
    wide = display.plot(bins=10, low=-20.0)
    assert len(wide.edges_) == 11 and wide.edges_[0] == -20.0
    bare = drawn(OutlierScoreDisplay(scores={"usual": usual}).plot())
    assert bare.threshold_line_ is None and not bare.clipped_
    assert bare.edges_[[0, -1]].tolist() == [usual.min(), usual.max()]
    lone = drawn(OutlierScoreDisplay(scores={"a": [2.0]}, threshold=1.0).plot())
    assert lone.shares_["a"].sum() == 1.0
    far = drawn(OutlierScoreDisplay(scores={"a": usual}, threshold=-300.0).plot())
    assert far.ax_.get_xlim()[0] < -300


def test_scores_that_are_mostly_minus_infinity():
    scores = {"a": np.r_[np.full(9, -np.inf), -3.0, 1.0], "b": np.full(4, -np.inf)}
    for threshold in (None, 0.0, -50.0, -np.inf):
        display = drawn(OutlierScoreDisplay(scores=scores, threshold=threshold).plot())
        assert display.edges_[0] == -3.0 and display.edges_[-1] == 1.0 and display.clipped_
        assert display.shares_["b"][0] == 1.0 and display.shares_["a"][-1] == pytest.approx(1 / 11)


WORDS = [f"a long name of group {i:02d} of all" for i in range(50)]


@pytest.mark.parametrize("n", [5, 7, 20, 21, 50])
@pytest.mark.parametrize("subplots", [False, True])
def test_many_groups(n, subplots):
    codes, y = cloud(200), np.array(WORDS[:n])[np.arange(200) % n]

    def ax():
        return plt.subplots(2, 2, layout="constrained")[1][0, 0] if subplots else None

    for k, labels in ((1, y), (2, y.astype(object)), (2, np.arange(200) % n)):
        display = drawn(LatentSpaceDisplay.from_codes(codes[:, :k], y=labels, ax=ax()))
        assert (display.colorbar_ is None) == (n <= 20) == (display.ax_.get_legend() is not None)
    display = drawn(LatentSpaceDisplay.from_codes(codes, y=y))
    if n > 20:
        assert display.artists_[0].get_array().tolist() == (np.arange(200) % n).tolist()
        names = [t.get_text() for t in display.colorbar_.ax.get_yticklabels()]
        assert len(names) == 9 and names[0] == "a long name of group 00\N{HORIZONTAL ELLIPSIS}"
    scores = {name: codes[y == name, 0] for name in WORDS[:n]}
    display = OutlierScoreDisplay(scores=scores, threshold=-1.0)
    drawn(display.plot(ax()))
    assert len(display.artists_) == n and (display.colorbar_ is None) == (n <= 20)
    assert len(display.ax_.get_legend().get_texts()) == (n + 1 if n <= 20 else 1)


def test_a_pipeline_scores(pipe, wine):
    display = OutlierScoreDisplay.from_estimator(pipe, wine[0], y=wine[1])
    assert display.threshold == pipe[-1].offset_
    np.testing.assert_array_equal(
        np.sort(np.concatenate(list(display.scores.values()))),
        np.sort(pipe.score_samples(wine[0])),
    )


def test_bad_scores(ppca, digits):
    X, _ = digits
    for scores, message in [
        ({}, "scores must be a dict"),
        ([1.0], "scores must be a dict"),
        ({"a": []}, r"scores\['a'\] must be one-dimensional"),
        ({"a": [np.nan]}, r"scores\['a'\] contains NaN"),
        ({"a": [-np.inf]}, "no finite score"),
    ]:
        with pytest.raises(ValueError, match=message):
            OutlierScoreDisplay(scores=scores)
    with pytest.raises(ValueError, match="y divides an array"):
        OutlierScoreDisplay.from_estimator(ppca, {"a": X}, y=[1])
    with pytest.raises(ValueError, match="y has 1 labels for 300 rows"):
        OutlierScoreDisplay.from_estimator(ppca, X, y=[1])
    with pytest.raises(ValueError, match="low=9"):
        OutlierScoreDisplay(scores={"a": [0.0, 1.0]}).plot(low=9.0)
    with pytest.raises(ValueError, match="bins must be an integer of at least 2"):
        OutlierScoreDisplay(scores={"a": [0.0, 1.0]}).plot(bins=1)


def test_attribution(ppca, pipe, digits, wine):
    X, _ = wine
    odd = X[:1].copy()
    odd["ash"] = 9.0
    display = drawn(AttributionDisplay.from_estimator(pipe, odd, X, n_features=4))
    scaled = pipe[0].transform(X)
    usual = np.median(pipe[-1].score_features(scaled), axis=0)
    shares = pipe[-1].score_features(pipe[0].transform(odd))[0]
    np.testing.assert_allclose(display.departure, shares - usual)
    assert len(display.bars_) == 4 and display.feature_names[display.order_[0]] == "ash"
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, display.departure[display.order_])
    assert display.ax_.get_yticklabels()[0].get_text().startswith("ash = ")
    D, _ = digits
    picture = drawn(
        AttributionDisplay.from_estimator(ppca, D[0], D, image_shape=IMAGE, cmap="gray", vmin=-5)
    )
    np.testing.assert_allclose(picture.image_.get_array(), picture.departure.reshape(8, 8))
    assert picture.image_.get_cmap().name == "gray" and picture.image_.get_clim()[0] == -5
    assert picture.plot(vmax=3).image_.get_clim()[1] == 3
    colour = np.random.RandomState(0).rand(3 * 4 * 4)
    summed = drawn(
        AttributionDisplay(
            shares=colour, usual=0 * colour, row=colour, image_shape=(3, 4, 4)
        ).plot()
    )
    np.testing.assert_allclose(summed.image_.get_array(), colour.reshape(3, 4, 4).sum(axis=0))
    with pytest.raises(ValueError, match="x must be a single row, got 2"):
        AttributionDisplay.from_estimator(pipe, X[:2], X)
    with pytest.raises(ValueError, match="usual has 2 features, shares has 3"):
        AttributionDisplay(shares=[1, 2, 3], usual=[1, 2], row=[1, 2, 3])
    with pytest.raises(ValueError, match="n_features must be an integer"):
        display.plot(n_features=0)


def test_attribution_shows_the_values_of_a_frame():
    n = 60
    z = np.random.default_rng(0).normal(size=n)
    frame = pd.DataFrame(
        {
            "a name that is much too long to stand beside a bar": 12553.0 + z,
            "job": np.where(z > 0, "nurse", "cook"),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta((90 * z).round(), unit="D"),
            "age": (40 + 5 * z).round(),
        }
    )
    frame.loc[0, "age"] = np.nan
    model = VAE(1, hidden_layer_sizes=4, max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(frame)
    display = drawn(AttributionDisplay.from_estimator(model, frame.iloc[[0]], frame))
    labels = {label.get_text() for label in display.ax_.get_yticklabels()}
    day = frame.loc[0, "since"].date().isoformat()
    number = f"{frame.iloc[0, 0]:.0f}"
    assert labels == {
        f"a name that is much too long to sta\N{HORIZONTAL ELLIPSIS} = {number}",
        f"job = {frame.loc[0, 'job']}",
        f"since = {day}",
        "age = missing",
    }
    assert not display.ax_.get_xlabel().startswith("departure")
    with pytest.raises(ValueError, match="row_text has 1 texts for 2 features"):
        AttributionDisplay(shares=[1, 2], usual=[1, 2], row=[1, 2], row_text=["a"])


def test_rows_with_missing_values_are_drawn(wine):
    X = wine[0].copy()
    X.iloc[::3, 0] = np.nan
    model = PPCA(2).fit(X)
    pairs = drawn(PairsDisplay.from_estimator(model, X, random_state=0))
    assert np.isnan(pairs.X[::3, 0]).all()
    rebuilt = drawn(ReconstructionDisplay.from_estimator(model, X, X_seen=X, n_rows=4))
    assert np.isnan(rebuilt.lines_[0][0].get_ydata()[0])
    assert np.isfinite(rebuilt.reconstruction).all()
    samples = drawn(SamplesDisplay.from_estimator(model, 3, random_state=0, reference=X))
    mean, scale = X["alcohol"].mean(), X["alcohol"].std(ddof=0)
    shown = samples.image_.get_array()[0]
    np.testing.assert_allclose(shown, (samples.samples[:, 0] - mean) / scale)
    ways = drawn(InterpolationDisplay.from_estimator(model, X.iloc[:2], X.iloc[2:4]))
    assert np.isfinite(ways.rows).all()
    drawn(AttributionDisplay.from_estimator(model, X.iloc[[0]], X))


def test_names_of_features_that_steps_hide(wine):
    X, _ = wine
    hidden = make_pipeline(FunctionTransformer(np.log1p), PPCA(1)).fit(X.to_numpy())
    display = AttributionDisplay.from_estimator(hidden, X.to_numpy()[0], X.to_numpy())
    assert display.feature_names[:2] == ["x0", "x1"]
    frames = PPCA(1).fit(X)
    for row in (X[:1], X.iloc[0]):
        display = AttributionDisplay.from_estimator(frames, row, X)
        assert display.feature_names[0] == "alcohol"
    with pytest.raises(ValueError, match="feature_names has 1 names for 13 features"):
        AttributionDisplay(shares=X.iloc[0], usual=X.iloc[1], row=X.iloc[2], feature_names=["a"])


def test_pairs(pipe, wine):
    X, _ = wine
    display = drawn(
        PairsDisplay.from_estimator(
            pipe, X, features=["hue", 0], n_samples=30, random_state=1, bins=5, alpha=0.3
        )
    )
    np.testing.assert_allclose(display.samples, pipe[0].inverse_transform(pipe[-1].sample(30, 1)))
    assert display.features == [10, 0] and display.axes_[0, 1] is None
    real, new = display.axes_[1, 0].collections
    np.testing.assert_allclose(real.get_offsets(), X[["hue", "alcohol"]])
    np.testing.assert_allclose(new.get_offsets(), display.samples[:, [10, 0]])
    assert real.get_alpha() == 0.3
    assert display.axes_[1, 0].get_xlabel() == "hue"
    both = np.concatenate([X["hue"], display.samples[:, 10]])
    edges = np.histogram_bin_edges(both, 5)
    expected = np.histogram(X["hue"], edges, density=True)[0]
    outline = display.axes_[0, 0].patches[0].get_xy()
    assert outline[:, 1].max() == pytest.approx(expected.max())
    as_many = PairsDisplay.from_estimator(pipe, X)
    assert len(as_many.samples) == len(X) and as_many.features == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="features must be"):
        PairsDisplay(X=X, samples=X, features="hue")
    with pytest.raises(ValueError, match="'hue' is not among the feature names"):
        PairsDisplay(X=X, samples=X, features=["hue"])
    with pytest.raises(ValueError, match="samples has 2 features, but 13"):
        PairsDisplay(X=X, samples=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="ax cannot be divided"):
        display.plot(ax=plt.figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: ReconstructionDisplay(X=X[0], reconstruction=X), "X must have the shape"),
        (lambda X: ReconstructionDisplay(X=X, reconstruction=X[:2]), "reconstruction has 2 rows"),
        (lambda X: ReconstructionDisplay(X=X, reconstruction=X, X_seen=X[:, :2]), "X_seen has 2"),
        (lambda X: ReconstructionDisplay(X=X, reconstruction=X * np.nan), "reconstruction .*NaN"),
        (lambda X: SamplesDisplay(samples=X, reference=X[:, :1]), "reference has 1 features"),
        (lambda X: SamplesDisplay(samples=X, feature_names=["a"]), "feature_names has 1 names"),
        (lambda X: SamplesDisplay(samples=X).plot(n_columns=0), "n_columns must be an integer"),
    ],
)
def test_bad_rows(make, message):
    with pytest.raises(ValueError, match=message):
        make(np.random.RandomState(0).rand(3, 4))


def test_lists_and_frames(ppca, digits):
    X, _ = digits
    rows = X[:3].tolist()
    display = ReconstructionDisplay.from_estimator(ppca, rows, n_rows=2)
    np.testing.assert_allclose(display.reconstruction, ppca.reconstruct(X[:2]))
    frame = pd.DataFrame(X[:50], columns=[f"p{i}" for i in range(64)])
    framed = PPCA(2).fit(frame)
    assert ReconstructionDisplay.from_estimator(framed, frame).feature_names[63] == "p63"
    assert LatentSpaceDisplay.from_estimator(framed, frame, y=pd.Series(range(50))).y[-1] == 49


# -- tables ---------------------------------------------------------------------------------------
def test_columns_of_tables():
    real, synthetic = people(200), people(150, seed=1)
    display = drawn(SyntheticDisplay.from_frames(real, synthetic))
    errors = marginal_error(real, synthetic, return_columns=True)[1]
    assert [m.name for m in display.marginals] == list(real) == display.names
    assert [m.error for m in display.marginals] == errors.tolist()
    for marginal, name in zip(display.marginals, real, strict=True):
        missing = (real[name].isna().mean(), synthetic[name].isna().mean())
        assert marginal.missing == pytest.approx(missing)
        for shares, holes in zip((marginal.real, marginal.synthetic), missing, strict=True):
            assert shares.sum() + holes == pytest.approx(1.0)  # no row is lost
    named = dict(zip(real, display.marginals, strict=True))
    assert named["size"].labels == ("S", "M", "L")  # in their order
    assert named["city"].labels == ("Paris", "Rome", "Oslo")  # the most frequent first
    assert named["member"].labels == ("False", "True")
    city = display.axes_[list(real).index("city")]
    texts = [text.get_text() for text in city.get_yticklabels()]
    assert texts == ["Paris", "Rome", "Oslo", "missing"]
    widths = [bar.get_width() for bar in city.patches]
    share = [(frame["city"] == "Paris").mean() for frame in (real, synthetic)]
    assert [widths[0], widths[4]] == pytest.approx(share)
    title = display.axes_[list(real).index("income")].get_title()
    assert title.startswith("income\nKS 0.") and "missing 1" in title
    assert display.axes_[list(real).index("stay")].get_xlabel() == "days"
    np.testing.assert_array_equal(display.pairs, pair_error(real, synthetic, return_pairs=True)[1])
    np.testing.assert_array_equal(display.image_.get_array(), display.pairs)
    assert display.image_.get_clim() == (0.0, display.pairs.max())
    assert display.plot(vmax=0.1, cmap="gray").colorbar_.extend == "max"


def test_some_columns_of_tables():
    real, synthetic = people(60), people(60, seed=1)
    display = SyntheticDisplay.from_frames(real, synthetic, columns=["stay", 0], bins=7)
    assert [m.name for m in display.marginals] == ["stay", "age"]
    assert len(display.marginals[0].real) == 7 and display.pairs.shape == (8, 8)
    narrow = drawn(SyntheticDisplay.from_frames(real[["age"]], synthetic[["age"]]))
    assert narrow.heat_ax_ is narrow.colorbar_ is None and len(narrow.axes_) == 1
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 50, 45))
    Y[:, [3, 40]] += 9.0
    wide = drawn(SyntheticDisplay.from_frames(X, Y))
    assert len(wide.axes_) == 16 and {"x3", "x40"} <= {m.name for m in wide.marginals}
    assert wide.heat_ax_.get_xlabel() == "column"  # 45 names would not be legible
    for columns in ("age", [], 3):
        with pytest.raises(ValueError, match="columns must be column names or positions"):
            SyntheticDisplay.from_frames(real, synthetic, columns=columns)
    with pytest.raises(ValueError, match="columns refers to the column 'nothing'"):
        SyntheticDisplay.from_frames(real, synthetic, columns=["nothing"])
    with pytest.raises(ValueError, match="synthetic lacks columns of real"):
        SyntheticDisplay.from_frames(real, synthetic[["age"]])
    with pytest.raises(ValueError, match="pairs must be a square matrix"):
        SyntheticDisplay(marginals=display.marginals, pairs=np.ones((2, 3)))
    with pytest.raises(ValueError, match="marginals must contain"):
        SyntheticDisplay(marginals=[], pairs=np.ones((2, 2)))
    with pytest.raises(ValueError, match="ax cannot be divided"):
        display.plot(ax=plt.figure().add_axes([0, 0, 1, 1]))


def test_odd_columns_of_tables():
    n = 30
    names = ["a name that goes on and on and on", "two\nlines", "$\\x$", "%s"]
    real = pd.DataFrame(
        {
            names[0]: [f"a label that goes on, number {i % 12}" for i in range(n)],
            names[1]: np.nan,
            names[2]: 7.0,
            names[3]: pd.Timestamp("2020-01-01"),
            "few": np.arange(n) % 3 * 1_000_000,
            "tail": np.where(np.arange(n) == 3, 1e9, 0.0),
            "none": pd.Series([None] * n, dtype="str"),
            "empty": pd.Series([pd.NaT] * n),
            "far": pd.to_timedelta(np.arange(n), unit="s"),
        }
    )
    display = drawn(SyntheticDisplay.from_frames(real, real.iloc[::-1]))
    found = {m.name: m for m in display.marginals}
    assert len(found[names[0]].labels) == 6 and found[names[0]].labels[-1] == "7 others"
    assert found[names[2]].labels == ("7",)
    assert found["few"].labels == ("0", "1000000", "2000000")
    assert found["none"].labels == () and found["none"].missing == (1.0, 1.0)
    assert found["empty"].real.sum() == 0.0
    assert display.axes_[-1].get_xlabel() == "seconds"
    assert display.pairs.max() == 0.0 and display.image_.get_clim() == (0.0, 1.0)
    first = [text.get_text() for text in display.axes_[0].get_yticklabels()]
    assert len(set(first)) == 6 and max(map(len, first)) == 15  # clipped, and still different
    assert display.axes_[1].get_title() == "two lines\nKS 0.00"


@pytest.mark.parametrize("given", [3.0, None, {1.0}, "abc", np.ones(5), [[1, 2], [3]]], ids=repr)
def test_rows_that_are_no_table(given):
    model = PPCA(1).fit(np.random.default_rng(0).normal(size=(20, 5)))
    rows = np.random.default_rng(0).normal(size=(20, 5))
    with pytest.raises((ValueError, TypeError), match=r"\bX\b"):
        ReconstructionDisplay.from_estimator(model, given)
    if not isinstance(given, np.ndarray):
        with pytest.raises((ValueError, TypeError), match=r"\bx\b"):
            AttributionDisplay.from_estimator(model, given, rows)
        with pytest.raises((ValueError, TypeError), match=r"\bcodes\b"):
            LatentSpaceDisplay.from_codes(given)
