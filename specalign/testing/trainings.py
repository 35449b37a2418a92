"""Small trainings with a plugin under check, on stars that two pretended instruments saw."""

import tempfile

import numpy as np

from specalign.alignment import Aligner
from specalign.alignment.weights import plugin_name
from specalign.encoders import get_encoder
from specalign.exceptions import PluginError
from specalign.testing.contract import fail, skip
from specalign.testing.stars import observe

__all__ = ["check_learning", "check_saved_aligner", "trained"]

STARS, EPOCHS, PIXELS, VALIDATION = 160, 8, 48, 0.25
NAMES = ("first", "second")
LEARNED = 0.15  # recall@1; those of this package reach 0.4 to 0.9


def trained(parts, max_epochs=EPOCHS):
    """An aligner after a few epochs on 160 stars, and the spectra.

    Parameters
    ----------
    parts : dict of str to callable
        ``encoders`` and ``objective`` make one each; without one, a small perceptron, or InfoNCE.
    max_epochs : int

    Returns
    -------
    aligner : Aligner
    prepared : dict of str to PreparedSpectra

    Examples
    --------
    >>> from specalign.testing.trainings import trained
    >>> trained({}, max_epochs=1)[0].instruments
    ('first', 'second')
    """
    encoders = {name: parts.get("encoders", _perceptron)() for name in NAMES}
    embed_dim = encoders[NAMES[0]].embed_dim
    objective = parts["objective"]() if "objective" in parts else "info_nce"
    aligner = Aligner(encoders, embed_dim=embed_dim, objective=objective)
    stars = [f"star-{i:03d}" for i in range(STARS)]
    prepared = {name: observe(name, stars, encoders[name].n_pixels, seed=i) for i, name in enumerate(NAMES)}
    aligner.fit(
        prepared, validation=VALIDATION, max_epochs=max_epochs, batch_size=32, progress=False, accelerator="cpu"
    )
    return aligner, prepared


def _perceptron():
    return get_encoder("mlp", n_pixels=PIXELS, embed_dim=8, n_factors=8, width=32, depth=1)


def check_learning(parts):
    """Fail unless the loss of a small training falls, and stars that did not train are found again.

    The loss alone would fall, too, where noise is learned by heart, or where all vectors become one.
    """
    epochs = trained(parts)[0].history.epochs
    losses, recall = epochs["train_loss"], float(epochs["recall@1"][-1])
    if not losses[-1] < losses[0]:
        fail(f"in {EPOCHS} epochs the loss went from {losses[0]:.4g} to {losses[-1]:.4g}; it should fall")
    if not recall >= LEARNED:
        fail(
            f"after {EPOCHS} epochs, {recall:.0%} of stars that did not train find themselves in the other instrument; "
            f"expected at least {LEARNED:.0%}, and chance finds {1 / (VALIDATION * STARS):.0%}"
        )


def check_saved_aligner(kind, subject):
    """Fail unless an aligner with an installed plugin embeds as before after it was saved and loaded."""
    part = subject.fresh()
    try:
        plugin_name(kind, part)
    except PluginError:
        skip("it is not installed under a name")
    aligner, prepared = trained({"encoders" if kind == "encoders" else "objective": subject.fresh}, max_epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        aligner.save(folder)
        loaded = Aligner.load(folder)
    for name, rows in prepared.items():
        before = aligner.embed(rows).vectors
        _check_vectors(aligner.embed(rows).vectors, before, f"an aligner embeds the same spectra of {name!r} twice")
        _check_vectors(loaded.embed(rows).vectors, before, f"a loaded aligner embeds the spectra of {name!r}")


def _check_vectors(found, expected, what):
    """Fail unless they are the same, bit for bit, and say how far apart they are."""
    if not np.array_equal(found, expected):
        off = np.abs(found - expected).max(axis=1)
        fail(f"{what} in another way: {np.count_nonzero(off)} of {len(off)} vectors, by up to {off.max():.3g}")
