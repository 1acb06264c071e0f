"""Convolutional models: networks against plain torch, every estimator on small images."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from contracts import DRESSES, digest, estimator_classes, is_trained, labels, make
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn
from torch.nn import functional as F

import skvae
from skvae import GAN, PPCA, VAE, Autoencoder, ConditionalVAE, NetworkOptions
from skvae.contract.density import BaseLatentModel
from skvae.estimators.rae import SpectralConv
from skvae.nn.convolutions import (
    Conv,
    ConvDecoder,
    ConvEncoder,
    Residual,
    stage_sizes,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 7, 9), (2, 33, 31), (3, 64, 64), (1, 4, 5)]
SMALL = {"network__hidden_channels": (4,), "max_iter": 2, "hidden_layer_sizes": (8,)}
LEARNED = [cls for cls in estimator_classes() if is_trained(cls())]
each_learned = pytest.mark.parametrize("cls", LEARNED, ids=lambda c: c.__name__)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=seeded(seed))


def images(n=60, shape=(1, 5, 6), seed=0):
    """A bright spot at a random place, in [0, 1]."""
    rng = np.random.default_rng(seed)
    c, h, w = shape
    y, x = rng.uniform(0, h - 1, (n, 1, 1, 1)), rng.uniform(0, w - 1, (n, 1, 1, 1))
    gap = (np.arange(h)[:, None] - y) ** 2 + (np.arange(w) - x) ** 2
    bright = rng.uniform(0.3, 1.0, (n, c, 1, 1))
    return 0.9 * bright * np.exp(-gap / 2.0) + 0.1 * rng.uniform(size=(n, c, h, w))


def on_images(cls, **params):
    return make(cls, **{**SMALL, **params})


def fit(model, X):
    return model.fit(X, labels(X))


# -- networks -------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("residual", [False, True])
def test_images_of_any_size_come_back_in_that_size(shape, residual):
    d = math.prod(shape)
    encoder = ConvEncoder(shape, (4, 6), (8,), 3, residual=residual)
    decoder = ConvDecoder(3, shape, (4, 6), (8,), copies=2, residual=residual)
    encoder.initialise(seeded())
    decoder.initialise(seeded())
    z = encoder(normal(5, d))
    assert z.shape == (5, 3)
    assert decoder(z).shape == (5, 2 * d)
    assert (encoder.in_features, decoder.out_features) == (d, 2 * d)
    # each image on its own, and any axes before the last
    x = normal(2, 3, d)
    torch.testing.assert_close(encoder(x)[1, 2], encoder(x[1, 2:])[0])
    torch.testing.assert_close(decoder(encoder(x))[1, 2], decoder(encoder(x[1, 2:]))[0])


def test_every_pixel_counts_at_odd_sizes():
    for shape in SHAPES:
        network = ConvEncoder(shape, (4, 4), (), 1, activation="identity")
        network.initialise(seeded())
        x = torch.zeros(1, math.prod(shape), requires_grad=True)
        (slope,) = torch.autograd.grad(network(x).sum(), x)
        assert (slope != 0.0).all(), shape
        network = ConvDecoder(2, shape, (4, 4), (), activation="identity")
        network.initialise(seeded())
        assert (network(normal(1, 2)) != 0.0).all(), shape


def test_an_encoder_is_the_usual_stack():
    """The same numbers as torch's own modules with these weights."""
    network = ConvEncoder((3, 9, 8), (4, 6), (7,), 5, 2, "relu", skip=True)
    network.initialise(seeded())
    with torch.no_grad():
        network.skip.weight.copy_(normal(*network.skip.weight.shape))
    first, second = network.stages
    pixels, context = normal(10, 3, 9, 8), normal(10, 2, seed=2)
    h = F.relu(F.conv2d(pixels, first.weight, first.bias, 2, 1))
    h = F.relu(F.conv2d(h, second.weight, second.bias, 2, 1)).flatten(1)
    a, b = network.top.layers
    x = torch.cat([pixels.flatten(1), context], 1)
    expected = b(F.relu(a(torch.cat([h, context], 1)))) + x @ network.skip.weight.T
    torch.testing.assert_close(network(x), expected)


def test_a_decoder_is_the_usual_stack():
    network = ConvDecoder(2, (1, 9, 8), (4, 6), (7,), 2, "relu", skip=True)
    network.initialise(seeded())
    with torch.no_grad():
        network.skip.bias.copy_(normal(144))
    up, last = network.stages
    z = normal(10, 2)
    a, b = network.bottom.layers
    h = F.relu(b(F.relu(a(z)))).reshape(10, 6, 2, 2)
    h = F.relu(F.conv_transpose2d(h, up.weight, up.bias, 2, 1))
    h = F.conv_transpose2d(h, last.weight, last.bias, 2, 1, (1, 0))
    expected = h.flatten(1) + network.skip.bias
    torch.testing.assert_close(network(z), expected)


def test_both_can_start_at_a_linear_map():
    weight, bias = normal(3, 20 + 2), normal(3)
    encoder = ConvEncoder((1, 4, 5), (4,), (8,), 3, 2, skip=True)
    encoder.initialise(seeded())
    encoder.start_linear(weight, bias, damp=0.0)
    x = normal(6, 22)
    torch.testing.assert_close(encoder(x), x @ weight.T + bias)
    weight, bias = normal(20, 3), normal(20)
    decoder = ConvDecoder(3, (1, 4, 5), (4,), (8,), skip=True)
    decoder.initialise(seeded())
    decoder.start_linear(weight, bias, damp=0.0)
    z = normal(6, 3)
    torch.testing.assert_close(decoder(z), z @ weight.T + bias)
    with pytest.raises(ValueError, match="skip"):
        ConvEncoder((1, 4, 5), (4,), (), 20).start_linear(weight, bias)


@pytest.mark.parametrize("skip", [False, True])
def test_scales_and_shifts_are_taken_into_the_weights(skip):
    encoder = ConvEncoder((1, 4, 5), (4,), (8,), 3, skip=skip)
    decoder = ConvDecoder(3, (1, 4, 5), (4,), (8,), skip=skip)
    for network in (encoder, decoder):
        network.initialise(seeded())
        if skip:
            nn.init.normal_(network.skip.weight, generator=seeded(3))
    x, z, scale, shift = normal(6, 20), normal(6, 3), normal(3), normal(3, seed=9)
    expected = scale * encoder(x) + shift
    encoder.absorb_outputs(scale, shift)
    torch.testing.assert_close(encoder(x), expected)
    expected = decoder(torch.cat([scale[:2] * z[:, :2] + shift[:2], z[:, 2:]], 1))
    decoder.absorb_inputs(scale[:2], shift[:2])
    torch.testing.assert_close(decoder(z), expected)
    norms = decoder.input_norms()
    square = decoder.bottom.layers[0].weight.square().sum(0)
    if skip:
        square = square + decoder.skip.weight.square().sum(0)
    torch.testing.assert_close(norms, square.sqrt())


def test_initial_weights_keep_the_scale_of_activations():
    """He's rule: the mean square is the same after a rectified layer, away from the edges."""
    x = normal(50, 16, 24, 24)
    for stage in ("same", "down", "up"):
        conv = Conv(16, 64, stage)
        conv.initialise(seeded())
        out = conv(F.relu(x))[:, :, 4:-4, 4:-4]
        assert out.square().mean().item() == pytest.approx(1.0, rel=0.15), stage
        assert conv(x).is_contiguous(memory_format=torch.channels_last)


def test_a_residual_block_starts_at_the_identity_and_learns():
    block = Residual(4, "silu")
    block.initialise(seeded())
    x = normal(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x)
    assert torch.autograd.grad(block(x).square().sum(), block.second.weight)[0].abs().max() > 0


@pytest.mark.parametrize("stage", ["same", "down", "up"])
def test_a_spectral_convolution_has_the_norm_it_has_learned(stage):
    conv = SpectralConv(3, 5, stage)
    conv.initialise(seeded())
    for _ in range(200):
        kernel = conv.kernel()
    largest = torch.linalg.matrix_norm(kernel.flatten(1), 2)
    assert largest.item() == pytest.approx(math.exp(conv.log_norm.item()), rel=1e-4)


def test_sizes_of_stages():
    assert stage_sizes((1, 28, 31), 3) == [(28, 31), (14, 15), (7, 7), (3, 3)]


# -- estimators -----------------------------------------------------------------------------------
@each_learned
def test_every_estimator_takes_images(cls):
    X = images()
    model = fit(on_images(cls), X)
    assert model.image_shape_ == (1, 5, 6)
    assert model.n_features_in_ == 30
    assert model.sample(3, random_state=0).shape == (3, 30)
    rows = X.reshape(60, 30)
    same = fit(on_images(cls, image_shape=[1, 5, 6]), rows)
    assert same.image_shape_ == (1, 5, 6)
    assert digest(same, rows) == digest(model, rows)  # rows or images: the same model
    if hasattr(model, "transform"):
        assert (model.transform(X) == model.transform(rows)).all()
        rebuilt = model.inverse_transform(model.transform(X))
        assert rebuilt.shape == (60, 30)
    if isinstance(model, BaseLatentModel):
        assert np.isfinite(model.score_samples(X)).all()
        assert model.score_features(X).shape == (60, 30)
        np.testing.assert_allclose(model.score_samples(X[:7]), model.score_samples(X)[:7], 1e-7)
    # convolutions, not layers on rows
    assert any(isinstance(m, Conv) for m in model.module_.decoder.modules())
    plain = fit(on_images(cls, network__hidden_channels=(32, 64)), rows)
    assert plain.image_shape_ is None
    assert digest(plain, rows) != digest(model, rows)


@each_learned
def test_image_models_are_saved_pickled_and_trained_on(cls, tmp_path):
    X = images()
    model = fit(on_images(cls, network__residual=True, warm_start=True), X)
    assert any(isinstance(m, Residual) for m in model.module_.modules())
    rows = X.reshape(60, 30)
    model.save(tmp_path / "model")
    others = skvae.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.copy(model)
    for other in others:
        assert other.image_shape_ == (1, 5, 6)
        assert digest(other, rows) == digest(model, rows)
        if hasattr(other, "transform"):
            assert (other.transform(X) == model.transform(X)).all()
    assert fit(clone(model), X).image_shape_ == (1, 5, 6)
    before = digest(model, rows)
    assert digest(fit(model, X), rows) != before
    model.partial_fit(X, labels(X))
    with pytest.raises(ValueError, match=r"images of shape \(1, 6, 5\).*\(1, 5, 6\)"):
        model.partial_fit(images(shape=(1, 6, 5)), labels(X))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"network__hidden_channels": (4,)}, {"network__hidden_channels": (5,)}),
        ({"network__hidden_channels": (4,)}, {"network__hidden_channels": (4, 4)}),
        (
            {"network__hidden_channels": 4},
            {"network__hidden_channels": 4, "network__residual": True},
        ),
        ({"image_shape": (1, 5, 6)}, {"image_shape": (1, 6, 5)}),
        ({"image_shape": (1, 5, 6)}, {"image_shape": None}),
        ({"hidden_layer_sizes": ()}, {"hidden_layer_sizes": (8,)}),
    ],
)
def test_parameters_of_images_change_the_result(one, other):
    X = images().reshape(60, 30)
    around = {"image_shape": (1, 5, 6), "max_iter": 30}
    a, b = (on_images(VAE, **{**around, **p}).fit(X) for p in (one, other))
    assert digest(a, X) != digest(b, X)


@pytest.mark.parametrize(
    ("params", "shape", "message"),
    [
        ({"image_shape": (1, 5)}, None, r"image_shape must be \(channels, height, width\)"),
        ({"image_shape": (1, 5, 7)}, None, "35 pixels, but X has 30 features"),
        ({"image_shape": (1, 5, 0)}, None, r"image_shape of \w+ must be a positive integer"),
        (
            {"image_shape": (1, 5, 6), "network__hidden_channels": (4, 4, 4)},
            None,
            "halves images 3 times",
        ),
        ({"image_shape": (1, 5, 6), "network__hidden_channels": ()}, None, "halves images 0 times"),
        (
            {"image_shape": (1, 5, 6), "network__hidden_channels": (0,)},
            None,
            "hidden_channels of VAE must be",
        ),
        ({"network__residual": True}, None, "residual=True can be used only for images"),
        ({"image_shape": "mnist"}, None, "'image_shape' parameter"),
        ({"image_shape": (1, 6, 5)}, (60, 1, 5, 6), "images of shape"),
        ({}, (60, 5, 2, 3), "channels last"),
    ],
)
def test_what_cannot_be_images_is_refused(params, shape, message):
    X = images().reshape(60, 30)
    X = X if shape is None else X.reshape(shape)
    with pytest.raises(ValueError, match=message):
        on_images(VAE, **params).fit(X)


def test_rows_models_and_closed_forms_refuse_four_axes():
    X = images()
    for model in (on_images(VAE).fit(X.reshape(60, 30)), PPCA(2).fit(X.reshape(60, 30))):
        with pytest.raises(ValueError, match="dim 4"):
            model.transform(X)
    with pytest.raises(ValueError, match="dim 4"):
        PPCA(2).fit(X)


def test_an_image_model_in_a_pipeline():
    X = 255.0 * images().reshape(60, 30)
    model = on_images(VAE, image_shape=(1, 5, 6))
    pipe = make_pipeline(MinMaxScaler(clip=True), model).fit(X)
    codes = pipe.transform(X)
    assert codes.shape == (60, 2)
    assert pipe.inverse_transform(codes).shape == (60, 30)
    assert pipe.score_samples(X).shape == (60,)


def test_pixels_share_one_scale_and_other_units_give_the_same_codes():
    X = images(200) - 0.2  # not intensities: a mean without bounds
    plain, scaled = (on_images(VAE, max_iter=5).fit(part) for part in (X, 255.0 * X - 3.0))
    assert len(np.unique(plain._fitted_.schema.scale)) == 1
    np.testing.assert_allclose(scaled.transform(255.0 * X - 3.0), plain.transform(X), atol=1e-3)
    shift = plain.score_samples(X) - 30 * np.log(255.0)
    np.testing.assert_allclose(scaled.score_samples(255.0 * X - 3.0), shift, atol=1e-2)


def test_intensities_of_small_images_get_a_sigmoid():
    X = images()
    model = on_images(VAE).fit(X)
    Z = 100.0 * np.random.default_rng(0).standard_normal((50, 2))
    decoded = model.inverse_transform(Z)
    assert decoded.min() >= -1e-6 and decoded.max() <= 1.0 + 1e-6


def test_convolutional_networks_of_ones_own():
    torch_shape = nn.Unflatten(1, (1, 5, 6))

    def encoder(inputs, outputs):
        return nn.Sequential(
            torch_shape, nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, outputs)
        )

    def decoder(inputs, outputs):
        grid = nn.Unflatten(1, (3, 3, 4))
        return nn.Sequential(nn.Linear(inputs, 36), grid, nn.ConvTranspose2d(3, 1, 3), nn.Flatten())

    X = images()
    model = on_images(Autoencoder, encoder=encoder, decoder=decoder, max_iter=300).fit(X)
    assert model.reconstruction_error(X).mean() < X.reshape(60, 30).var(0).mean()


def test_noise_by_pixel_from_the_network():
    X = images()
    model = on_images(VAE, noise_variance="network", max_iter=20).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert model.module_.decoder.network.out_features == 60


def test_a_classifier_of_images():
    X = images(200)
    y = X[:, 0, :, :3].sum((1, 2)) > X[:, 0, :, 3:].sum((1, 2))
    model = on_images(ConditionalVAE, max_iter=60, learning_rate_init=0.01).fit(X, y)
    assert model.score(X, y) > 0.8
    assert model.sample(4, random_state=0, y=True).shape == (4, 30)


def test_critics_of_images_are_convolutional_too():
    model = on_images(GAN).fit(images())
    assert any(isinstance(m, Conv) for m in model.module_.auxiliary["critic"].modules())


def test_a_small_memory_gives_the_same_result(monkeypatch):
    X = images()
    model = on_images(VAE).fit(X)
    expected = model.score_samples(X), model.transform(X)
    monkeypatch.setattr("skvae.nn.model._CHUNK_NUMBERS", 200)
    assert model.module_.chunk < 10
    np.testing.assert_allclose(model.transform(X), expected[1], rtol=1e-9)
    np.testing.assert_allclose(model.score_samples(X), expected[0], rtol=1e-9)


def test_convolutions_know_neighbours():
    """Few images of a spot anywhere: a new place is less of a surprise to convolutions."""
    X = images(400, (1, 12, 12))
    new = images(200, (1, 12, 12), seed=1)
    common = {"n_components": 3, "hidden_layer_sizes": (32,), "max_iter": 40, "random_state": 0}
    plain = VAE(**common).fit(X.reshape(400, 144))
    convolutional = VAE(**common, network=NetworkOptions(hidden_channels=(8, 16))).fit(X)
    assert convolutional.score(new) > plain.score(new.reshape(200, 144)) + 5.0


@pytest.mark.parametrize(
    ("name", "params"),
    [
        (name, params)
        for name, dresses in DRESSES.items()
        for params in dresses
        if name not in ("PPCA", "DenoisingDetector")  # which have no networks of images
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)),
)
def test_every_path_takes_images(name, params, tmp_path):
    X = images()
    model = fit(on_images(getattr(skvae, name), **params), X)
    model.save(tmp_path / "model")
    other = skvae.load(tmp_path / "model")
    drawn = model.sample(3, random_state=0)
    assert drawn.shape == (3, 30) and np.isfinite(drawn).all()
    assert (other.sample(3, random_state=0) == drawn).all()
    if isinstance(model, BaseLatentModel):
        scores = model.score_samples(X)
        assert np.isfinite(scores).all() and (other.score_samples(X) == scores).all()


def test_bfloat16_trains_images():
    X = images()
    plain, short = (on_images(VAE, training__precision=p).fit(X) for p in ("float32", "bfloat16"))
    assert digest(plain, X.reshape(60, 30)) != digest(short, X.reshape(60, 30))
    assert abs(plain.score(X) - short.score(X)) < 5.0


def test_a_refused_fit_leaves_the_shape_as_it_was():
    X = images()
    model = on_images(VAE).fit(X)
    codes = model.transform(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((60, 1, 6, 5), np.nan))
    assert (model.transform(X) == codes).all()
    with pytest.raises(ValueError, match="residual=True can be used only for images"):
        model.set_params(network__residual=True).fit(X.reshape(60, 30))
    assert model.image_shape_ == (1, 5, 6)
    assert (model.transform(X) == codes).all()


def test_images_in_lists_none_at_all_and_axes_in_another_order():
    X = images()
    model = on_images(VAE).fit(X.tolist())
    assert digest(model, X.reshape(60, 30)) == digest(on_images(VAE).fit(X), X.reshape(60, 30))
    for call in (lambda: model.transform(X[:0]), lambda: on_images(VAE).fit(X[:0])):
        with pytest.raises(ValueError, match="0 sample"):
            call()
    for call in (lambda: model.transform(X[:, 0]), lambda: on_images(VAE).fit(X[:, 0])):
        with pytest.raises(ValueError, match=r"pass X\[:, None\]"):
            call()
    with pytest.raises(ValueError, match=r"images of shape .* np.moveaxis\(X, -1, 1\)"):
        model.transform(np.moveaxis(X, 1, -1))


def test_pixels_share_one_noise_in_any_units():
    X = images()
    for unit in (1.0, 255.0):
        assert len(np.unique(on_images(VAE).fit(unit * X).noise_variance_)) == 1
    by_pixel = on_images(VAE, noise_variance="feature").fit(X)
    assert len(np.unique(by_pixel.noise_variance_)) > 1


def test_names_of_columns_are_no_matter_inside_calls():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(images().reshape(60, 30)).add_prefix("pixel")
    model = on_images(ConditionalVAE, image_shape=(1, 5, 6)).fit(X, labels(X))
    assert model.sample(4, random_state=0, method="posterior", X=X).shape == (4, 30)
