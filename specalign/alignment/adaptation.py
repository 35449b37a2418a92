"""Adaptation of a trained space to spectra of another domain, of which there are few."""

import copy
import logging

import astropy.units as u
import numpy as np
import torch

from specalign.alignment import weights
from specalign.alignment.checkpoint import weights_digest
from specalign.alignment.history import AdaptationHistory
from specalign.alignment.inputs import encoder_source
from specalign.alignment.stars import join_prepared, star_labels
from specalign.data.columns import with_unit
from specalign.data.loading import check_good_pixels
from specalign.data.splits import split
from specalign.exceptions import LabelError, MatchError

__all__ = ["adapt"]

log = logging.getLogger(__name__)

ENOUGH = 200  # stars of which some can be spared to decide when to stop; the decay alone did better with 30 and 100
SHARE = 0.2  # of them
AVERAGING = 0.9  # over some ten steps, so that not the last one decides


def adapt(
    aligner,
    prepared,
    labels=None,
    *,
    partners=None,
    pairs=None,
    method="full",
    rank=4,
    max_epochs=None,
    batch_size=64,
    learning_rate=None,
    weight_decay=None,
    noise=1.0,
    label_weight=0.5,
    validation=None,
    patience=None,
    seed=0,
    accelerator="auto",
    progress=None,
):
    """A new aligner, in which the encoder of one instrument has seen some spectra of another domain.

    Real spectra after a training on mock ones, or spectra of another resolution, with other gaps or other noise; ten
    of them are few, some hundred are many.  They are prepared on the same grid by the same rules.  Everything else of
    the space stays as it is: the encoders of the other instruments, whose vectors are the same bit for bit, the
    objective, the label head and the decoders.

    What the new spectra should be comes from their labels, through the label head of the space, from spectra of the
    same stars by other instruments (``partners``), whose vectors are drawn near, or from both.  Labels say nothing of
    the normal distributions that spectra have beside their vectors (``clip+likelihood``): without partners, the new
    aligner gives none for this instrument, and its spectra are compared by cosine.

    The new aligner has a ``space`` of its own.  Tables of the old one are refused there, although the vectors of the
    other instruments are the same: embed those spectra again.

    Parameters
    ----------
    aligner : `~specalign.Aligner`
        Stays as it is.
    prepared : PreparedSpectra
        Of one of its instruments.
    labels : `~astropy.table.Table`, optional
        object_id and some of the labels that the aligner was trained with, in any unit of their kind.  Unknown ones are
        masked or NaN, and stars may be absent.
    partners : dict of str to PreparedSpectra, optional
        Spectra of the same stars by other instruments of the aligner.  Spectra of further stars make the task harder,
        and the result better: they are what a new spectrum must not be near to.
    pairs : `~astropy.table.Table`, optional
        Where catalogues name one star differently, see `specalign.data.loading.join_stars`.
    method : {"full", "low_rank", "head"}
        What may change: every weight; the linear layers by matrices of a low rank [1]_, and their biases; or the
        encoder's ``head`` alone.
    rank : int
        Of those matrices.
    max_epochs : int, optional
        As many as make 300 steps.
    batch_size : int
        In stars.
    learning_rate, weight_decay : float, optional
        By default the method's own.  The decay draws the weights to where they were [2]_; it is what keeps three
        spectra from doing harm.
    noise : float
        Augmentation: each row gets up to this many times its own stated noise on top.
    label_weight : float
        Weight of the labels beside partners.
    validation : float, optional
        Share of the stars that decides when to stop; by default a fifth of 200 stars or more, and none of
        fewer, of which all are better used to train.
    patience : int, optional
        Epochs without a better validation loss before training stops; half of ``max_epochs`` by default.
    seed : int
        The same seed gives the same weights, bit for bit, on one CPU.
    accelerator : str
        As Lightning takes it; ``"auto"`` is what `~specalign.config.conf` says.
    progress : bool, optional
        Show a progress bar; by default as `~specalign.config.conf` says, where somebody looks on.

    Returns
    -------
    `~specalign.Aligner`
        Its ``history.adaptations`` ends with an `AdaptationHistory`.

    Raises
    ------
    LabelError
        The aligner has no label head, or does not know a label; or no star of the spectra is in the label table.
    MatchError
        No star of the spectra has a known label or a partner.
    GridMismatchError
        The spectra have another grid, other options or other mask rules than those of the training.
    SpectrumError
        An unmasked pixel is not finite, or a row has no good pixel.
    NonFiniteLossError
        The loss or a gradient is not finite.
    SpecalignError
        The aligner is not trained.
    ValueError
        There are neither labels nor partners, or a setting is out of its range.

    References
    ----------
    .. [1] Hu et al. 2021, arXiv 2106.09685.
    .. [2] Li, Grandvalet & Davoine 2018, ICML, arXiv 1802.01483.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign import Aligner, get_encoder
    >>> from specalign.alignment import adapt
    >>> from specalign.testing.stars import observe, star_labels
    >>> names = [f"star {i}" for i in range(60)]
    >>> labels = QTable({"object_id": names, "teff": (5000 + 300 * star_labels(names)[:, 0]) * u.K})
    >>> seen = {"mine": observe("mine", names, 40), "yours": observe("yours", names, 30)}
    >>> encoders = {
    ...     "mine": get_encoder("mlp", n_pixels=40, embed_dim=8, n_factors=4, width=16, depth=1),
    ...     "yours": get_encoder("mlp", n_pixels=30, embed_dim=8, n_factors=4, width=16, depth=1),
    ... }
    >>> aligner = Aligner(encoders, embed_dim=8)
    >>> _ = aligner.fit(seen, labels, max_epochs=2, progress=False)
    >>> adapted = adapt(aligner, observe("mine", names[:10], 40, noise=0.1), labels, max_epochs=5, progress=False)
    >>> adapted.history.adaptations
    [<AdaptationHistory: mine by full; 10 stars train, 0 validate; 5 epochs, kept 4>]
    """
    from specalign.alignment.training import AdaptationModule, AdaptationSettings, TrainingData, add_updates, train

    name = aligner._key(prepared)
    spectra = _spectra(aligner, name, prepared, labels, {} if partners is None else partners)
    index = join_prepared(spectra, list(spectra), pairs)
    targets = _targets(aligner._labels, labels, index, spectra)
    training, held = _split(index, _told(index, name, targets), validation, seed)
    settings = AdaptationSettings.for_stars(
        len(training),
        method=method,
        rank=rank,
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        noise=noise,
        label_weight=label_weight,
        averaging=AVERAGING,
        patience=patience,
        seed=seed,
    )
    encoder = add_updates(copy.deepcopy(aligner.encoders[name]).train(), method, rank, seed)
    data = TrainingData({name: prepared}, {name: encoder_source(encoder, prepared)}, index, training, held, targets)
    history = AdaptationHistory(counts=_counts(name, method, spectra, training, held))
    objective, head = _frozen(aligner)
    partners = _others(aligner, name, index, spectra)
    module = AdaptationModule({name: encoder}, objective, head, data, settings, history, partners)
    train(module, accelerator=accelerator, devices=1, progress=progress)
    log.info("%r", history)
    return _renewed(aligner, name, encoder, history)


def _spectra(aligner, name, prepared, labels, partners):
    """All spectra by the names of their instruments, checked, the adapted one first."""
    if labels is None and not partners:
        raise ValueError("expected labels=..., partners=..., or both: nothing says what the new spectra are")
    if labels is not None and aligner._labels is None:
        raise LabelError(
            "labels: this aligner was trained without labels, so that they have no meaning in its space; give spectra "
            "of the same stars by another instrument, partners={...}"
        )
    for key, rows in partners.items():
        if key == name or aligner._key(rows) != key:
            others = ", ".join(other for other in aligner.instruments if other != name)
            raise ValueError(f"partners: expected spectra of {others} by that name, got {aligner._key(rows)} as {key}")
    spectra = {name: prepared} | partners
    for key, rows in spectra.items():
        check_good_pixels(rows, aligner.encoders[key].least_pixels)
    return spectra


def _targets(known, labels, index, spectra):
    """Labels (S, L) of all stars as the head knows them, NaN = unknown, or None."""
    if labels is None:
        return None
    names, units, columns = star_labels(labels, index, spectra)
    if unknown := [label for label in names if label not in known.names]:
        raise LabelError(
            f"labels: the aligner was trained with {', '.join(known.names)}, and does not know {', '.join(unknown)}; "
            f"leave {'it' if len(unknown) == 1 else 'them'} out"
        )
    values = np.full((len(index), len(known.names)), np.nan)
    for label, unit, column in zip(names, units, columns.T, strict=True):
        place = known.names.index(label)
        values[:, place] = _converted(label, column, unit, known.units[place])
    return torch.from_numpy(known.transform(values))


def _converted(label, values, unit, wanted):
    if unit == wanted:
        return values
    try:
        return with_unit(values, u.Unit(unit)).to_value(u.Unit(wanted))
    except (u.UnitConversionError, u.UnitTypeError) as error:
        raise LabelError(f"{label}: expected {wanted or 'no unit'}, got {unit or 'no unit'}") from error


def _told(index, name, targets):
    """Stars of the instrument that have a label or a partner."""
    known = np.zeros(len(index), bool) if targets is None else np.isfinite(targets.numpy()).any(axis=1)
    stars = np.flatnonzero((known | index.shared()) & (index.count(name) > 0))
    if not len(stars):
        raise MatchError(
            f"none of the {int((index.count(name) > 0).sum())} stars has a known label or a partner's spectrum; they "
            f"begin with {list(map(str, index.star_id[index.count(name) > 0][:5]))}"
        )
    if not known[stars].any() and len(index) < 2:
        raise MatchError("partners: expected spectra of two stars at least, got one; nothing could be told apart")
    return stars


def _split(index, stars, validation, seed):
    """Stars that train, and those that decide when to stop."""
    share = (SHARE if len(stars) >= ENOUGH else 0.0) if validation is None else validation
    if not 0 <= share < 1:
        raise ValueError(f"validation: expected a share from 0 to below 1, got {share}")
    part = split(index.star_id[stars], validation=share, test=0.0, seed=seed, purpose="adapt")
    if not (part == "train").any():
        raise MatchError(f"no star of {len(stars)} is left to train on; expected validation=0 for so few")
    return stars[part == "train"], stars[part == "validation"]


def _counts(name, method, spectra, training, held):
    counts = {"training": len(training), "validation": len(held), "rows": len(spectra[name])}
    partners = sum(len(rows) for other, rows in spectra.items() if other != name)
    return {"instrument": name, "method": method} | counts | {"partners": partners}


def _frozen(aligner):
    """Copies of objective and label head that are not trained."""
    parts = copy.deepcopy((aligner._objective, aligner._head))
    return [part if part is None else part.requires_grad_(False) for part in parts]


def _others(aligner, name, index, spectra):
    """All dimensions (N, D) of the vectors, and the stars (N,), of the partners' rows."""
    return {
        other: (aligner._embedded(other, rows), torch.from_numpy(index.star[other]))
        for other, rows in spectra.items()
        if other != name
    }


def _renewed(aligner, name, encoder, history):
    """A copy of the aligner that has another encoder, without anything that only its training needed."""
    from specalign.alignment.training import merge_updates

    adapted = copy.deepcopy(aligner)
    adapted.encoders[name] = merge_updates(encoder, adapted.encoders[name])
    parts = adapted.encoders, adapted._head, adapted._objective, adapted._decoders
    adapted._space = weights_digest(weights.tensors(*parts))
    adapted.history.adaptations.append(history)
    return adapted
