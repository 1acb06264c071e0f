"""The whole family side by side on MNIST and Fashion-MNIST: samples, reconstructions, codes, time.

Every model has the same widths (hidden layers of ``--hidden``, 16 codes), budget (epochs, batches
of 128) and rows in [0, 1]; all else is as shipped. Inception features are not at hand, so sets of
images are compared in the 64 penultimate features of a small convolutional network that the script
trains on the labels of all training rows, once, and keeps in ``--cache``. The table is of one seed;
with several ``--seeds`` a table of means and standard errors follows.

- MSE: squared error of reconstructed test rows, mean over pixels;
- FD: Frechet distance to the test rows, of as many samples (decoder means), and of reconstructions;
- F8, F1/8: recall and precision from the PRD curve of 5000 rows, then both by 3 nearest neighbours;
- NAC: mean absolute correlation of the test codes; units: how many of them vary;
- energy: exact energy distance between codes of test rows and N(0, I), times 1000; a stochastic
  encoder's codes are draws here, normal with its moments (draws of N(0, I) give 0.00 +- 0.03);
- AUROC: test rows against those of the other data set as outliers, by `score_samples`;
- seconds: of `fit`, with the density of codes where there is one; CPU time with one thread.

"(rows)" compares training rows with test rows: what a perfect model would reach. With ``--peers``
pythae trains the same networks with its own default weights, samplers and losses (unit noise), at
the rate 1e-3 (its default, 1e-4, is too slow for so few epochs). Two exceptions: InfoVAE has our
default weights, since pythae's own rewards the distance to the prior (alpha + lambda - 1 < 0), and
"VAE noise 0.1" weighs its unit noise down to the right size.

    python benchmarks/family.py --threads 1 --out family.jsonl --peers

Finished rows are appended to ``--out``, and a run that is started again skips them. A variant of an
estimator needs no code: ``--models "WassersteinAE(divergence_weight=0.1)"``.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import arguments, installed, labels, mnist, parser, stopwatch, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from torch import nn

SETS = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}  # inliers: outliers
LATENT, BATCH = 16, 128
NAMES = (
    "PPCA()",
    "Autoencoder()",
    "DenoisingAE()",
    "SparseAE()",
    "ContractiveAE()",
    "VAE()",
    "VAE(beta=4.0)",
    "VAE(latent_density=GaussianMixture(10))",
    "VAE(prior='mixture')",
    "VAE(prior='vamp')",
    "VAE(prior='flow')",
    "VAE(prior='implicit')",
    "VAE(posterior_family='iaf')",
    "VAE(bound='importance_weighted', n_draws=5)",
    "ConditionalVAE()",
    "InfoVAE()",
    "FactorVAE()",
    "TwoStageVAE()",
    "HuberEnergyVAE()",
    "HuberEnergyVAE(latent_density=GaussianMixture(10))",
    "WassersteinAE()",
    "WassersteinAE(divergence='sliced_wasserstein')",
    "AdversarialAE()",
    "RAE()",
    "RAE(decoder_penalty='gradient')",
    "RAE(decoder_penalty='spectral_norm')",
    "InjectiveFlowAE()",
    "FlexAE()",
    "MaskAAE()",
    "GAN()",
    "InfoGAN()",
)
STOCHASTIC = ("VAE", "ConditionalVAE", "InfoVAE", "FactorVAE", "TwoStageVAE")
# pythae: model, options, sampler
PEERS = {
    "AE": ("AE", {}, "GaussianMixture"),
    "VAE": ("VAE", {}, "Normal"),
    "VAE noise 0.1": ("BetaVAE", {"beta": 0.01}, "Normal"),
    "BetaVAE beta=4": ("BetaVAE", {"beta": 4.0}, "Normal"),
    "VAMP": ("VAMP", {}, "VAMP"),
    "IWAE 5 draws": ("IWAE", {"number_samples": 5}, "Normal"),
    "VAE IAF": ("VAE_IAF", {}, "Normal"),
    "WAE_MMD": ("WAE_MMD", {}, "Normal"),
    "InfoVAE": ("INFOVAE_MMD", {"alpha": 0.5, "lbd": 100.0}, "Normal"),
    "FactorVAE": ("FactorVAE", {}, "Normal"),
    "Adversarial_AE": ("Adversarial_AE", {}, "Normal"),
    "RAE_L2": ("RAE_L2", {}, "GaussianMixture"),
    "RAE_GP": ("RAE_GP", {}, "GaussianMixture"),
    "TwoStage": ("VAE", {}, "TwoStageVAE"),
}
DETERMINISTIC_PEERS = ("AE", "WAE_MMD", "RAE_L2", "RAE_GP")
FIGURES = (
    ("MSE", "{:.4f}"),
    ("FD", "{:.1f}"),
    ("FD rec", "{:.1f}"),
    ("F8", "{:.3f}"),
    ("F1/8", "{:.3f}"),
    ("precision", "{:.3f}"),
    ("recall", "{:.3f}"),
    ("NAC", "{:.3f}"),
    ("units", "{:.0f}"),
    ("energy", "{:.1f}"),
    ("AUROC", "{:.3f}"),
    ("seconds", "{:.1f}"),
)


# -- features -----------------------------------------------------------------------------------
class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(512, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    @torch.no_grad()
    def features(self, X: np.ndarray) -> np.ndarray:
        rows = torch.as_tensor(np.asarray(X, np.float32)).reshape(-1, 1, 28, 28)
        return torch.cat([self.body(x) for x in rows.split(1000)]).numpy()


def classifier(data: Path, name: str, cache: Path, epochs: int = 4) -> Classifier:
    """Trained on all training rows with their labels; prints the accuracy on test rows."""
    torch.manual_seed(0)
    net = Classifier()
    path = cache / f"{name}_classifier.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        X = torch.as_tensor(mnist(data, "train", name)).reshape(-1, 1, 28, 28)
        y = torch.as_tensor(labels(data, "train", name))
        optimiser = torch.optim.Adam(net.parameters(), fused=True)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, 5e-3, total_steps=epochs * -(-len(X) // BATCH)
        )
        for _ in range(epochs):
            for i in torch.randperm(len(X)).split(BATCH):
                loss = nn.functional.cross_entropy(net(X[i]), y[i])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                rate.step()
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), path)
    net.eval()
    test = net.features(mnist(data, "test", name))
    with torch.no_grad():
        guess = net.head(torch.as_tensor(test)).argmax(1).numpy()
    accuracy = np.mean(guess == labels(data, "test", name))
    print(f"{name}: the classifier of the features has {accuracy:.2%} test accuracy", flush=True)
    return net


# -- contestants --------------------------------------------------------------------------------
@dataclass
class Fitted:
    """What is measured of a fitted model; None where it has no such thing."""

    sample: Callable[[int], np.ndarray]
    reconstruct: Callable[[np.ndarray], np.ndarray] | None = None
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    draw: Callable[[np.ndarray], np.ndarray] | None = None  # codes, drawn
    score: Callable[[np.ndarray], np.ndarray] | None = None


def fit_ours(text: str, X: np.ndarray, y: np.ndarray, seed: int, hidden, epochs: int) -> Fitted:
    import skvae

    def build(node: ast.expr):
        if not isinstance(node, ast.Call):
            return ast.literal_eval(node)
        name = node.func.id
        kind = GaussianMixture if name == "GaussianMixture" else getattr(skvae, name)
        return kind(*map(build, node.args), **{k.arg: build(k.value) for k in node.keywords})

    model = build(ast.parse(text, mode="eval").body)
    shared = {"n_components": LATENT, "random_state": seed}
    if text[:4] != "PPCA":
        shared |= {"hidden_layer_sizes": hidden, "batch_size": BATCH, "max_iter": epochs}
        shared |= {"device": "cpu"}
        if "n_importance_samples" in model.get_params():
            shared["n_importance_samples"] = 1
    model.set_params(**shared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are meant here
        model.fit(X, y)

    def draw(X):
        mean, std = model.posterior(X)
        return mean + std * np.random.default_rng(seed).standard_normal(mean.shape)

    fitted = Fitted(partial(model.sample, random_state=seed, noise=False))
    fitted.encode = getattr(model, "transform", None)
    fitted.draw = draw if type(model).__name__ in STOCHASTIC else fitted.encode
    fitted.reconstruct = getattr(model, "reconstruct", None)
    fitted.score = getattr(model, "score_samples", None)
    return fitted


def fit_peer(name: str, X: np.ndarray, y: np.ndarray, seed: int, hidden, epochs: int) -> Fitted:
    """pythae's model of this name with our widths and activation."""
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    import pythae.models
    import pythae.samplers
    import pythae.trainers
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import training_callbacks
    from tqdm import tqdm

    training_callbacks.tqdm = partial(tqdm, disable=True)  # it has no switch of its own
    kind, options, sampler_name = PEERS[name]
    stochastic = kind not in DETERMINISTIC_PEERS
    torch.manual_seed(seed)

    def layers(*widths):
        steps = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            steps += [nn.Linear(a, b), nn.SiLU()]
        return nn.Sequential(*steps[:-1])

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = layers(X.shape[1], *hidden, LATENT * (1 + stochastic))

        def forward(self, x):
            h = self.net(x)
            if not stochastic:
                return ModelOutput(embedding=h)
            mean, log_variance = h.chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = layers(LATENT, *hidden[::-1], X.shape[1])

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))

    config = getattr(pythae.models, f"{kind}{'_' * ('_' in kind)}Config")
    config = config(input_dim=(X.shape[1],), latent_dim=LATENT, **options)
    model = getattr(pythae.models, kind)(config, encoder=Encoder(), decoder=Decoder())
    plain = pythae.trainers.BaseTrainerConfig
    coupled = pythae.trainers.CoupledOptimizerTrainerConfig, ("encoder_", "decoder_")
    game = pythae.trainers.AdversarialTrainerConfig, ("autoencoder_", "discriminator_")
    special = {"RAE_L2": coupled, "FactorVAE": game, "Adversarial_AE": game}
    training, rates = special.get(kind, (plain, ("",)))
    common = {"num_epochs": epochs, "per_device_train_batch_size": BATCH, "no_cuda": True}
    common |= {"seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        made = training(
            output_dir=folder, **common, **{f"{rate}learning_rate": 1e-3 for rate in rates}
        )
        TrainingPipeline(model=model, training_config=made)(train_data=X)
        model.eval()
        sampler = getattr(pythae.samplers, f"{sampler_name}Sampler")(model)
        if sampler_name == "GaussianMixture":
            sampler.fit(torch.as_tensor(X))
        elif sampler_name == "TwoStageVAE":
            second = plain(output_dir=folder, learning_rate=1e-3, **common)
            sampler.fit(torch.as_tensor(X), training_config=second)

    @torch.no_grad()
    def encode(X, drawn=False):
        q = model.encoder(torch.as_tensor(X))
        z = q.embedding
        if drawn and stochastic:
            z = z + torch.exp(0.5 * q.log_covariance) * torch.randn_like(z)
        if kind == "VAE_IAF":
            z = model.iaf_flow.inverse(z).out
        return z.numpy()

    @torch.no_grad()
    def reconstruct(X):
        return model.decoder(torch.as_tensor(encode(X))).reconstruction.numpy()

    @torch.no_grad()
    def sample(n):
        return sampler.sample(num_samples=n, return_gen=True).reshape(n, -1).numpy()

    return Fitted(sample, reconstruct, encode, partial(encode, drawn=True))


def fit_rows(name: str, X: np.ndarray, y: np.ndarray, seed: int, hidden, epochs: int) -> Fitted:
    """Training rows in the place of samples."""
    return Fitted(lambda n: X[np.random.default_rng(seed).permutation(len(X))[:n]])


# -- figures ------------------------------------------------------------------------------------
def measure(
    fitted: Fitted, test: np.ndarray, other: np.ndarray, net: Classifier, seed: int
) -> dict[str, float]:
    from skvae.metrics.codes import active_units, code_correlation
    from skvae.metrics.frechet import frechet_distance
    from skvae.metrics.precision_recall import knn_precision_recall, prd_curve, prd_f_scores
    from skvae.nn.divergences import HuberEnergy

    real, generated = net.features(test), net.features(fitted.sample(len(test)))
    found = {"FD": frechet_distance(real, generated)}
    few = real[:5000], generated[:5000]
    found["F8"], found["F1/8"] = prd_f_scores(*prd_curve(*few, n_runs=5, random_state=seed))
    found["precision"], found["recall"] = knn_precision_recall(*few)
    if fitted.reconstruct is not None:
        back = fitted.reconstruct(test)
        found["MSE"] = float(np.mean(np.square(test - back, dtype=np.float64)))
        found["FD rec"] = frechet_distance(real, net.features(back))
    if fitted.encode is not None:
        codes = fitted.encode(test)
        found["NAC"], found["units"] = code_correlation(codes), active_units(codes)
        drawn = torch.as_tensor(np.asarray(fitted.draw(test), np.float32))
        found["energy"] = 1000.0 * float(HuberEnergy()(drawn))
    if fitted.score is not None:
        m = len(other)
        score = np.concatenate([fitted.score(test[:m]), fitted.score(other)])
        found["AUROC"] = float(roc_auc_score(np.repeat([1, 0], m), score))
    return found


def summary(rows: list[dict]) -> list[list[str]]:
    """Mean, and standard error where there are several seeds, of each figure by model."""
    lines = []
    for model in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in rows if r["model"] == model]
        line = [model]
        for name, form in FIGURES:
            values = [r[name] for r in own if name in r]
            cell = form.format(np.mean(values)) if values else ""
            if len(values) > 1 and name not in ("units", "seconds"):
                cell += f" ± {form.format(np.std(values, ddof=1) / len(values) ** 0.5)}"
            line.append(cell)
        lines.append(line)
    return lines


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    p.add_argument("--models", nargs="+", default=list(NAMES), help="estimators, as Python calls")
    p.add_argument("--peers", nargs="*", metavar="NAME", help="pythae's models, all if none named")
    p.add_argument("--seeds", type=int, nargs="+", default=[0])
    p.add_argument("--rows", type=int, default=20_000, help="training rows")
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--hidden", type=int, nargs="+", default=[256, 256], help="widths")
    p.add_argument("--outliers", type=int, default=2000, help="rows of each kind for the AUROC")
    p.add_argument("--quick", action="store_true", help="3 epochs of 5000 rows, one seed, MNIST")
    p.add_argument("--out", type=Path, help="JSON lines; finished rows are not run again")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "skvae_family")
    p.add_argument("--tag", default="", help="kept with every row, to tell variants apart")
    args = arguments(p, "skvae", "pythae")
    if args.quick:
        args.rows, args.epochs, args.seeds, args.sets = 5000, 3, args.seeds[:1], args.sets[:1]
    run(args)


def run(args: argparse.Namespace) -> None:
    contestants = {"(rows)": (fit_rows, "(rows)")}
    contestants |= {text: (fit_ours, text) for text in args.models}
    if args.peers is not None and installed("pythae"):
        contestants |= {f"pythae {k}": (fit_peer, k) for k in args.peers or PEERS}
    setting = {k: getattr(args, k) for k in ("rows", "epochs", "hidden", "tag")}
    done = []
    if args.out is not None and args.out.exists():
        done = [json.loads(line) for line in args.out.read_text().splitlines()]
        done = [r for r in done if all(r[k] == v for k, v in setting.items())]
    clock = stopwatch()
    for name in args.sets:
        X, y = mnist(args.data, "train", name), labels(args.data, "train", name)
        chosen = np.random.default_rng(0).permutation(len(X))[: args.rows]
        X, y = X[chosen], y[chosen]
        test = mnist(args.data, "test", name)
        other = mnist(args.data, "test", SETS[name])[: args.outliers]
        net = classifier(args.data, name, args.cache)
        header = ["model", *(k for k, _ in FIGURES)]
        print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header), flush=True)
        for seed in args.seeds:
            for label, (fit, text) in contestants.items():
                key = {"set": name, "model": label, "seed": seed, **setting}
                if any(all(r[k] == v for k, v in key.items()) for r in done):
                    continue
                start = clock()
                try:
                    fitted = fit(text, X, y, seed, tuple(args.hidden), args.epochs)
                    seconds = clock() - start
                    row = key | measure(fitted, test, other, net, seed) | {"seconds": seconds}
                except Exception as error:  # one that fails must not end the others
                    print(f"| {label} | {type(error).__name__}: {error} |", flush=True)
                    continue
                row["measuring"] = clock() - start - seconds
                done.append(row)
                if args.out is not None:
                    with args.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                print("| " + " | ".join(summary([row])[0]) + " |", flush=True)
        if len(args.seeds) > 1:
            wanted = [r for r in done if r["set"] == name and r["model"] in contestants]
            table(header, summary([r for r in wanted if r["seed"] in args.seeds]))


if __name__ == "__main__":
    main()
