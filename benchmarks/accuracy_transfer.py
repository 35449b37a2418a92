"""Few labels of real LAMOST stars: from scratch, and with the encoder of a space that was trained on the mock survey.

The space is one of LAMOST and Gaia XP mock spectra with their labels; it never saw a real spectrum. The mock spectra
end at 7,400 Angstrom, and so the real ones are cut there before they are embedded. From scratch, all pixels count.

What is quoted is the mean of two networks, one from scratch and one that begins with the space's encoder. From scratch,
the best method on the test counts, with the mean of two networks that begin with other weights among them.
"""

import numpy as np
from accuracy_real import (
    FOLDS,
    NAMES,
    absolute_errors,
    fitted,
    folds,
    quoted,
    real_stars,
    values_of,
)
from accuracy_space import PROBES, train_space
from bench_results import plain

import specalign as sa
from specalign.alignment import LabelRegressor
from specalign.analysis.regression import LinearProbe

PAIR = ("lamost_lrs", "gaia_xp")
SIZES = (30, 100, 300, 1600)
LONGEST = 7400.0  # Angstrom, where the mock spectra end
ALPHAS = tuple(10.0 ** np.arange(-1, 7))  # thousands of pixels want more than the 128 numbers of an embedding
KINDS = (*PROBES, "corrected", "fine-tuned")
BOTH = "fine-tuned and from scratch, mean"


def transfer_row(survey):
    """Mean absolute errors at each number of labels; every draw has a fold of its own as the test."""
    study = Study(survey)
    errors = absolute_errors(study.mock_values, study.labels)
    result = study.facts | {"draws": FOLDS, "no labels": errors, "sizes": {}}
    for size in SIZES:
        result["sizes"][str(size)] = summary([one_draw(study, size, draw) for draw in range(FOLDS)])
        print(f"{size} labels: {result['sizes'][str(size)]['figures']}", flush=True)
    return plain(result)


class Study:
    """Real spectra, whole and cut; their embeddings in the mock survey's space, and what its labels say of them."""

    def __init__(self, survey):
        seen = {survey.plugin(name): survey.seen(name) for name in PAIR}
        known, self.seed = survey.labels(PAIR), survey.seed
        self.aligner, self.facts = train_space({key: one.train for key, one in seen.items()}, known, survey.seed)
        self.full, self.labels = real_stars(survey)
        self.cut = real_stars(survey, LONGEST)[0]
        self.fold = folds(self.full.object_id, survey.seed)
        self.vectors = self.aligner.embed(self.cut)
        base = self.aligner.embed(seen["lamost"].train)
        probe = sa.LabelModel("mlp").fit(base, known, names=NAMES)
        self.mock_values = values_of(probe.predict(self.vectors))
        self.facts["n_mock"] = len(base)

    def probed(self, kind, rows, test):
        """Labels (n, L) of some rows, learned from the labels of others.

        "corrected" adds a constant to what a probe says that knows the mock stars' labels: the median difference.
        "fine-tuned" is a regressor that begins with the aligned encoder.
        """
        if kind == "corrected":
            return self.mock_values[test] + np.median(values_of(self.labels[rows]) - self.mock_values[rows], axis=0)
        if kind == "fine-tuned":
            model = LabelRegressor(self.aligner.encoders["lamost"])
            model.fit(self.cut[rows], self.labels[rows], split=None, seed=self.seed, progress=False)
            return values_of(model.predict(self.cut[test]))
        model = sa.LabelModel(kind).fit(self.vectors[rows], self.labels[rows])
        return values_of(model.predict(self.vectors[test]))


def one_draw(study, size, draw):
    """Errors of every method, from some labelled stars outside of a fold, on the stars of the fold."""
    pool, test = np.flatnonzero(study.fold != draw), np.flatnonzero((study.fold == draw) & quoted(study.labels))
    rows = np.sort(np.random.default_rng([study.seed, draw, size]).permutation(pool)[:size])
    scratch = from_scratch(study, rows, test, study.seed + draw)
    moved = {kind: study.probed(kind, rows, test) for kind in KINDS}
    moved[BOTH] = (moved["fine-tuned"] + scratch["default"]) / 2
    sides, truth = {"scratch": scratch, "transfer": moved}, study.labels[test]
    errors = {
        side: {kind: absolute_errors(values, truth) for kind, values in found.items()} for side, found in sides.items()
    }
    return {"n": len(rows)} | errors


def from_scratch(study, rows, test, seed):
    """Labels of test rows by networks, and by a linear model, that saw nothing but the labelled rows."""
    full, labels = study.full, study.labels
    networks = {"default": ("default", seed), "again": ("default", seed + FOLDS), "raw flux": ("raw flux", seed)}
    found = {
        name: values_of(fitted(kind, full[rows], labels[rows], start).predict(full[test]))
        for name, (kind, start) in networks.items()
    }
    found["default, mean of two"] = (found["default"] + found.pop("again")) / 2
    return found | {"raw flux, linear": linear_from_flux(full, labels, rows, test)}


def linear_from_flux(prepared, labels, rows, test):
    """Ridge regression on standardised pixels, whose penalty held-out stars choose."""
    good = ~prepared.mask[rows]
    count = np.maximum(good.sum(axis=0), 1)
    mean = np.where(good, prepared.flux[rows], 0).sum(axis=0) / count
    scale = np.sqrt(np.where(good, (prepared.flux[rows] - mean) ** 2, 0).sum(axis=0) / count)
    pixels = np.clip((prepared.flux - mean) / np.where(scale > 1e-6, scale, np.inf), -10, 10)
    pixels[prepared.mask] = 0
    model = LinearProbe(ALPHAS).fit(pixels[rows], values_of(labels[rows]), prepared.object_id[rows])
    return model.predict(pixels[test])[0]


def summary(draws):
    """Means over the draws; from scratch, the method with the smallest mean error on the test counts for each label."""
    means = {
        side: {kind: {x: float(np.mean([d[side][kind][x] for d in draws])) for x in NAMES} for kind in draws[0][side]}
        for side in ("scratch", "transfer")
    }
    best = {name: min(means["scratch"], key=lambda kind: means["scratch"][kind][name]) for name in NAMES}
    figures = {
        name: {"scratch": means["scratch"][kind][name], "network": kind, "transfer": means["transfer"][BOTH][name]}
        for name, kind in best.items()
    }
    return {"n": draws[0]["n"], "figures": figures, "means": means, "draws": draws}
