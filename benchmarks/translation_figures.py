"""How good translated spectra are: reduced chi-square and fractional residual a wavelength, beside two baselines."""

import itertools

import numpy as np

from specalign.exceptions import SpecalignError

BINS = 20  # of equal numbers of pixels
BASELINES = ("mean spectrum", "nearest neighbour")


def translation_rows(aligner, train, test, clean):
    """Figures of every translation that the aligner has been trained for.

    Parameters
    ----------
    aligner : Aligner
    train, test : dict of str to PreparedSpectra
    clean : dict of str to PreparedSpectra
        The test stars' spectra without noise, where they are known.
    """
    rows = {}
    for source, target in itertools.product(train, repeat=2):
        try:
            found = aligner.translate(test[source], to=target)
        except SpecalignError:  # the objective trains no such decoder
            continue
        guesses = baselines(aligner, train, test, source, target) if source != target else {}
        truth = matched(test[target], found.object_id)
        rows[f"{source} -> {target}"] = {
            "measured": residuals(found, truth, True),
            "noise-free": residuals(found, matched(clean[target], found.object_id), False) if clean else None,
            "baselines": {name: residuals(guess, truth, True)["all"] for name, guess in guesses.items()},
        }
    return rows


def baselines(aligner, train, test, source, target):
    """The mean of the training spectra, and the spectrum of the training star that is nearest in the shared space."""
    gallery, queries = aligner.embed(train[target]), aligner.embed(test[source])
    found = gallery.search(queries, k=1)
    place = {name: i for i, name in enumerate(train[target].spectrum_id.tolist())}
    nearest = np.array([place[name] for name in found["neighbour_spectrum_id"].tolist()])
    rows, good = train[target], ~train[target].mask
    mean = np.where(good, rows.flux, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    flat = np.broadcast_to(mean, (len(queries), len(mean)))
    guesses = (Guess(flat, np.zeros(flat.shape, bool)), Guess(rows.flux[nearest], rows.mask[nearest]))
    return dict(zip(BASELINES, guesses, strict=True))


class Guess:
    """Spectra that something else than a decoder tells: flux, mask and ivar (N, P); without ivar, no errors."""

    def __init__(self, flux, mask, ivar=None):
        self.flux, self.mask, self.ivar = flux, mask, np.full(flux.shape, np.inf) if ivar is None else ivar

    def __getitem__(self, rows):
        return Guess(self.flux[rows], self.mask[rows], self.ivar[rows])


def matched(prepared, object_id):
    """Rows of the named stars, in that order; every test star is seen once."""
    place = {name: i for i, name in enumerate(prepared.object_id.tolist())}
    return prepared[np.array([place[name] for name in object_id.tolist()])]


def residuals(found, truth, noisy):
    """Reduced chi-square and fractional residual, of all pixels and in bins of wavelength."""
    good = ~found.mask & ~truth.mask & (truth.flux > 0)
    difference = np.where(good, found.flux - truth.flux, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.where(good, 1 / truth.ivar, np.nan) if noisy else 0.0
        stated = np.where(good, 1 / found.ivar, np.nan)
        chi2, share = difference**2 / (stated + noise), difference / truth.flux
        wavelength = truth.spectral_axis.value
        columns = [slice(None), *(part for part in np.array_split(np.arange(len(wavelength)), BINS))]
        figures = [summary(chi2[:, c], share[:, c], np.sqrt(stated[:, c]) / truth.flux[:, c]) for c in columns]
    edges = [[float(wavelength[c[0]]), float(wavelength[c[-1]])] for c in columns[1:]]
    return {"all": figures[0], "bins": [{"angstrom": e} | f for e, f in zip(edges, figures[1:], strict=True)]}


def summary(chi2, share, stated):
    """Medians and the mean chi-square; None where no pixel counts."""
    if not np.isfinite(share).any():
        return {"chi2": None, "median_chi2": None, "bias": None, "scatter": None, "stated": None}
    low, middle, high = np.nanpercentile(share, (16, 50, 84))
    return {
        "chi2": float(np.nanmean(chi2)),
        "median_chi2": float(np.nanmedian(chi2)),
        "bias": float(middle),
        "scatter": float(high - low) / 2,
        "stated": float(np.nanmedian(stated)),
    }
