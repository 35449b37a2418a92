"""Figures of the page on what alignment can do: correlations that are taken for lines, and means that are too tight."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import rc_context
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

from specalign.mock import cramer_rao, draw_labels, spectrum
from specalign.plots.style import PALETTE, STYLE

LABEL, SNR = "mn_fe", 100


def noisy_spectra(n, seed, decorrelated):
    """Labels of mock stars, and their NIRSpec spectra with noise."""
    labels = draw_labels(n, seed=seed, decorrelated=decorrelated)
    clean = spectrum("nirspec", labels)[1].value
    return labels, clean + clean / SNR * np.random.default_rng(seed).normal(size=clean.shape)


def draw_correlations():
    """One regression, on stars like those it learned from, and on stars whose elements are independent."""
    labels, flux = noisy_spectra(900, 1, False)
    reduce = PCA(40, random_state=0).fit(flux)
    model = RidgeCV(np.logspace(-6, 3, 10)).fit(reduce.transform(flux), labels[LABEL].value)
    limit = np.median(cramer_rao("nirspec", labels[:40], SNR)[LABEL].value)
    with rc_context(STYLE):
        _, axes = plt.subplots(1, 2, figsize=(7.2, 3.7), sharex=True, sharey=True, layout="constrained")
        for ax, decorrelated in zip(axes, (False, True), strict=True):
            tested, seen = noisy_spectra(300, 2, decorrelated)
            truth, found = tested[LABEL].value, model.predict(reduce.transform(seen))
            r2 = 1 - np.mean((found - truth) ** 2) / np.var(truth)
            ax.plot(truth, found, ".", color=PALETTE[decorrelated], markersize=4, alpha=0.7)
            ax.axline((0, 0), slope=1, color="k", linewidth=0.8)
            kind = "Every element for itself" if decorrelated else "Stars as in the Galaxy"
            ax.set_title(f"{kind}: R² = {r2:.2f}")
            ax.set_xlabel("True [Mn/Fe] [dex]")
        axes[0].set_ylabel("Predicted [Mn/Fe] [dex]")
        axes[0].errorbar(-0.4, 0.3, xerr=limit, color=PALETTE[5], capsize=3)
        axes[0].text(-0.4, 0.25, "± the bound", ha="center", va="top", color=PALETTE[5])
