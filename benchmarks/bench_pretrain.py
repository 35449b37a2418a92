"""Pre-training of the default encoders on the mock survey, and what an aligner makes of them.

Each row is a command of its own, stored as JSON, so that an interrupted study goes on::

    python benchmarks/bench_pretrain.py --shared ../shared --rows specformer --stars 2000
    python benchmarks/bench_pretrain.py --shared ../shared          # all rows that are not stored yet

``specformer`` and ``autoencoder`` pre-train an encoder of LAMOST or Gaia XP spectra and compare its loss on the test
stars with those of the mean spectrum, of 64 principal axes that see the same pixels, and of a perfect reconstruction,
which leaves the noise.  ``space-*`` align the two instruments: with the default encoders, with the pre-trained ones,
with these frozen but for their heads, and with the same ones that were never pre-trained.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from accuracy_space import study_space
from accuracy_survey import Survey, test_size

import specalign as sa
from specalign.alignment import load_encoder, save_encoder
from specalign.config import get_cache_folder
from specalign.encoders.standardized import Reconstruction, Standardizer, reconstruction_loss
from specalign.io.files import atomic_write

ENCODERS = {"specformer": "lamost_lrs", "autoencoder": "gaia_xp"}
PLAIN, FROZEN, UNTRAINED = "space-plain", "space-frozen", "space-untrained"
SPACES = (PLAIN, "space-trainable", FROZEN, UNTRAINED)
ROWS = (*ENCODERS, *SPACES)
AXES = 64
SCALER_ROWS = 8192
BLOCK = 128


def tensors(prepared, rows):
    """Flux, inverse variance and mask of some rows."""
    return tuple(torch.from_numpy(getattr(prepared, name)[rows]) for name in ("flux", "ivar", "mask"))


class PrincipalAxes:
    """Flux of pixels that are not seen, from 64 principal axes and the noise of those that are.

    The coefficients are the posterior mean under their variance in the training spectra: sum(b w z) solved against
    sum(b b w) + 1 / variance, with standardised flux z and w the inverse of noise and what the axes leave.
    """

    def __init__(self, encoder, train):
        self.standardizer = Standardizer(encoder.n_pixels)
        self.standardizer.load_state_dict(encoder.standardizer.state_dict())
        rows = self._standardized(*tensors(train, slice(SCALER_ROWS)))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, spread, self.axes = torch.pca_lowrank(rows.values, q=AXES, center=False, niter=4)
        self.prior = len(rows.values) / spread**2
        left = (rows.values - rows.values @ self.axes @ self.axes.T) ** 2
        self.left = left.sum(dim=0) / (rows.weight > 0).sum(dim=0).clamp(min=1) + 1e-6

    def _standardized(self, flux, ivar, mask):
        bad = mask | (ivar == 0)
        return self.standardizer(flux.masked_fill(bad, 0), ivar.masked_fill(bad, 0), bad, torch.ones(len(flux)))

    def reconstruct(self, flux, ivar, mask, counted, hidden):
        """The spectra; ``hidden`` pixels are not looked at."""
        rows = self._standardized(flux, ivar, mask)
        noise = 1 / torch.where(rows.weight > 0, ivar, 1) / rows.scale**2
        weight = torch.where((rows.weight > 0) & ~hidden, 1 / (noise + self.left), 0)
        normal = torch.einsum("np,pi,pj->nij", weight, self.axes, self.axes) + torch.diag(self.prior)
        found = torch.linalg.solve(normal, ((weight * rows.values) @ self.axes)[:, :, None])[:, :, 0]
        return Reconstruction(rows.flux(found @ self.axes.T), rows.scale.expand_as(flux), counted)


@torch.no_grad()
def test_losses(encoder, train, test):
    """Mean loss of the test spectra, of the same hidden pixels: encoder, principal axes, mean spectrum, and noise."""
    axes, generator, total = PrincipalAxes(encoder, train), torch.Generator().manual_seed(0), {}
    for start in range(0, len(test), BLOCK):
        flux, ivar, mask = tensors(test, slice(start, start + BLOCK))
        found = encoder.reconstruct(flux, ivar, mask, generator=generator)
        hidden = found.counted if hasattr(encoder, "hidden_share") else torch.zeros_like(mask)
        linear = axes.reconstruct(flux, ivar, mask, found.counted, hidden)
        mean = Reconstruction(axes.standardizer.scaler.mean.expand_as(flux), linear.scale, found.counted)
        kinds = {"encoder": found, f"{AXES} principal axes": linear, "mean spectrum": mean}
        losses = {name: reconstruction_loss(one, flux, ivar, mask) for name, one in kinds.items()}
        good = found.counted & ~mask & (ivar > 0)
        share = torch.where(good, 1 / (1 + torch.where(good, ivar, 1) * linear.scale**2), 0)
        losses["noise alone"] = share.sum(dim=1) / good.sum(dim=1).clamp(min=1)
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + float(value.sum())
    return {name: value / len(test) for name, value in total.items()}


def pretrain_row(options, survey, row):
    """Pre-train with the defaults, keep the encoder, and say what it took."""
    seen = survey.seen(ENCODERS[row])
    start, used = time.perf_counter(), time.process_time()
    encoder = sa.pretrain(row, seen.train, seed=survey.seed, progress=False)
    epochs = encoder.history.epochs
    result = {
        "n_train": len(seen.train),
        "n_test": len(seen.test),
        "config": encoder.config(),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "epochs": len(epochs),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - used,
        "threads": torch.get_num_threads(),
        "validation loss": [float(value) for value in epochs["val_loss"]],
    }
    save_encoder(encoder, folder_of(options, survey, row))
    return result | {"test loss": test_losses(encoder, seen.train, seen.test)}


def folder_of(options, survey, row):
    """Where a pre-trained encoder is kept."""
    return options.encoders / f"{row}-stars{survey.n_stars}-seed{survey.seed}"


def space_row(options, survey, row):
    """Align LAMOST and Gaia XP; labels of the training stars are not given."""
    names = list(ENCODERS.values())
    train = {survey.plugin(name): survey.seen(name).train for name in names}
    test = {survey.plugin(name): survey.seen(name).test for name in names}
    encoders = encoders_of(options, survey, row)
    used = time.process_time()
    found = study_space(
        train, test, survey.labels(names), survey.known(names), survey.seed, False, encoders, objective="clip"
    )
    return found | {"cpu_seconds": time.process_time() - used}


def encoders_of(options, survey, row):
    """Encoders by instrument, or their names; None for the default ones."""
    if row == PLAIN:
        return None
    named = {survey.plugin(name): encoder for encoder, name in ENCODERS.items()}
    if row == UNTRAINED:
        return named
    loaded = {name: load_encoder(folder_of(options, survey, encoder)) for name, encoder in named.items()}
    return {name: encoder.freeze() for name, encoder in loaded.items()} if row == FROZEN else loaded


def plain(value):
    """JSON-like copy."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    value = getattr(value, "value", value)
    return value.item() if hasattr(value, "item") else value


def run(options):
    """Run the rows that are not stored; the spaces need the encoders of the rows before them."""
    options.store.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        survey = Survey(options.shared, options.stars + test_size(options.stars), seed)
        for row in options.rows:
            path = options.store / f"pretrain-{row}-stars{options.stars}-seed{seed}.json"
            if path.exists() and not options.again:
                continue
            result = plain((pretrain_row if row in ENCODERS else space_row)(options, survey, row))
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(result, indent=1) + "\n")
            print(path.name, json.dumps(result.get("test loss") or result["retrieval"]), flush=True)


def main():
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--shared", type=Path, default=root.parent / "shared")
    parser.add_argument("--store", type=Path, default=root / "benchmarks" / "results")
    parser.add_argument("--encoders", type=Path, default=get_cache_folder() / "bench-pretrain")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--stars", type=int, default=20000, help="for training; a fifth, at most 2000, more for the test"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[31])
    parser.add_argument("--again", action="store_true", help="run what is stored, too")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
