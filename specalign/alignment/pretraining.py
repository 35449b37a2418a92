"""Training of one encoder on spectra without labels and without partners."""

import copy
import logging

import numpy as np

from specalign.alignment.history import PretrainingHistory
from specalign.alignment.inputs import scale_input
from specalign.alignment.origin import SpectraOrigin
from specalign.alignment.stars import join_prepared
from specalign.data.loading import check_good_pixels
from specalign.data.splits import split
from specalign.encoders import Encoder, get_encoder
from specalign.exceptions import GridMismatchError, MatchError

__all__ = ["pretrain"]

log = logging.getLogger(__name__)


def pretrain(
    encoder,
    prepared,
    *,
    embed_dim=128,
    validation=0.1,
    max_epochs=None,
    batch_size=128,
    learning_rate=2e-3,
    weight_decay=0.05,
    noise=1.0,
    patience=None,
    seed=0,
    accelerator="auto",
    progress=None,
    **options,
):
    """Train an encoder to give back spectra: windows that are hidden from it, or all of them through a bottleneck.

    Neither labels nor a second instrument are needed.  Stars, not rows, are split; the scaling of the input is fitted
    to training stars.  The loss is weighted by the inverse variance, see
    `~specalign.encoders.standardized.reconstruction_loss`.

    Parameters
    ----------
    encoder : str or Encoder
        ``"specformer"``, ``"autoencoder"`` or the name of an installed plugin that reconstructs spectra; or an encoder,
        which is copied, begins with its weights, and keeps the scaling of its input where it was trained before.
    prepared : PreparedSpectra
    embed_dim : int
        Of an encoder that is built here.
    validation : float
        Share of the stars that decides when to stop; 0 = train to the end.
    max_epochs : int, optional
        10, or as many as make a thousand steps.
    batch_size : int
        In stars; a batch has at most one in eight of those that train, but not fewer than 8.
    learning_rate, weight_decay : float
    noise : float
        Each row is seen with up to this many times its own stated noise on top, and is to be given back without it.
    patience : int, optional
        Epochs without a better validation loss before training stops; half of ``max_epochs`` by default.
    seed : int
        Of the weights, the split, the order and what is hidden.
    accelerator : str
        As Lightning takes it; ``"auto"`` is what `~specalign.config.conf` says.
    progress : bool, optional
        Show a progress bar; by default as `~specalign.config.conf` says, where somebody looks on.
    **options
        Of the encoder's plugin.

    Returns
    -------
    Encoder
        Trained; ``encoder.history`` is a `PretrainingHistory`, ``encoder.origin`` a `SpectraOrigin`.  Give it to an
        `Aligner` or a `LabelRegressor`, as it is or after `~specalign.encoders.Encoder.freeze`; `save_encoder` writes
        it into a folder.

    Raises
    ------
    ValueError
        The encoder does not reconstruct spectra, or a setting is out of its range.
    GridMismatchError
        A given encoder takes another number of pixels, or was trained on another grid, with other options or with
        other mask rules.
    MatchError
        There are fewer than two training stars.
    SpectrumError
        An unmasked pixel is not finite, or a row has no good pixel.
    NonFiniteLossError
        The loss or a gradient is not finite; the error names the step and the spectra.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> instrument = sa.get_instrument("gaia_xp")
    >>> rng = np.random.default_rng(0)
    >>> flux = 1 + 0.1 * rng.normal(size=(60, 1)) * np.linspace(-1, 1, 343) + 0.01 * rng.normal(size=(60, 343))
    >>> names = [f"star {i}" for i in range(60)]
    >>> prepared = instrument.prepare_arrays(
    ...     flux, ivar=np.full_like(flux, 1e4), spectral_axis=instrument.spectral_axis, object_id=names, normalized=True
    ... )
    >>> encoder = sa.pretrain("autoencoder", prepared, hidden=32, bottleneck=4, max_epochs=3, progress=False)
    >>> len(encoder.history.epochs)
    3
    """
    from specalign.alignment.training import PretrainingModule, PretrainingSettings, TrainingData, train

    encoder, name = _chosen(encoder, prepared, embed_dim, seed, options), prepared.instrument.name
    check_good_pixels(prepared, encoder.least_pixels)
    index = join_prepared({name: prepared}, [name], None)
    training, held = _split(index, validation, seed)
    settings = PretrainingSettings.for_stars(
        len(training),
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        noise=noise,
        patience=patience,
        seed=seed,
    )
    scale_input(encoder, prepared, index.rows(name, training)[0], seed)
    counts = {"stars": len(index), "training": len(training), "validation": len(held), "rows": len(prepared)}
    history = PretrainingHistory(counts=counts)
    data = TrainingData({name: prepared}, {name: prepared}, index, training, held, None)
    train(PretrainingModule({name: encoder}, None, data, settings, history), accelerator=accelerator, devices=1,
          progress=progress)  # fmt: skip
    log.info("%r", history)
    encoder.history, encoder.origin = history, SpectraOrigin.of(prepared)
    return encoder


def _chosen(choice, prepared, embed_dim, seed, options):
    n_pixels = prepared.flux.shape[1]
    if isinstance(choice, str):
        encoder = get_encoder(choice, n_pixels=n_pixels, embed_dim=embed_dim, seed=seed, **options)
    elif isinstance(choice, Encoder) and not options:
        encoder = copy.deepcopy(choice)
    else:
        raise ValueError(f"encoder: expected a plugin's name (with options) or an Encoder, got {choice!r}")
    if not encoder.reconstructs:
        raise ValueError(
            f"{type(encoder).__name__} does not reconstruct spectra, so that it cannot be trained without labels; "
            f"'specformer' and 'autoencoder' do"
        )
    if encoder.n_pixels != n_pixels:
        raise GridMismatchError(f"the encoder takes {encoder.n_pixels} pixels, the spectra have {n_pixels}")
    return encoder.requires_grad_().train()


def _split(index, validation, seed):
    if not 0 <= validation < 1:
        raise ValueError(f"validation: expected a share from 0 to below 1, got {validation}")
    part = split(index.star_id, validation=validation, test=0.0, seed=seed, purpose="fit")
    if (part == "train").sum() < 2:
        raise MatchError(f"expected at least 2 training stars, got {(part == 'train').sum()} of {len(index)}")
    return np.flatnonzero(part == "train"), np.flatnonzero(part == "validation")
