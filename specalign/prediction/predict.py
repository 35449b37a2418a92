"""From files or spectra to labels, with nothing lost on the way."""

import warnings

import numpy as np
from astropy.table import vstack

from specalign.exceptions import EmptySpectrumError, MockModelWarning
from specalign.prediction.model import LabelTransfer
from specalign.prediction.reading import prepared_parts

__all__ = ["predict"]


def predict(spectra, model, *, visits="combined", progress=None):
    """Label new spectra with a model that was built before.

    Reads, prepares and embeds them, carries labels to them from the labelled stars of the model, and says of each
    whether it is like the spectra that the model was trained on.

    Parameters
    ----------
    spectra : path-like, `specutils.Spectrum`, `~specalign.PreparedSpectra`, or a sequence of them
        A path is a file, a folder or a pattern.  Files are read by the instruments of the model, with the options that
        they had in the training: a file of another instrument or setting is rejected with its reason.  A spectrum
        must carry the facts that `specalign.get_instrument` (``prepare``) asks for; to pass facts, such as a
        velocity, prepare them yourself.
    model : `~specalign.prediction.LabelTransfer` or path-like
        A model, or the folder of one.
    visits : {"combined", "all"}
        See ``read`` of the instrument.
    progress : bool, optional
        Show progress bars after a second; by default as `~specalign.config.conf` says, where somebody looks on.

    Returns
    -------
    `~astropy.table.QTable`
        A row a spectrum, in the order of the input: object_id, spectrum_id, instrument; every label and its ``*_err``,
        with units; ``in_domain``, ``domain_reasons`` (why not), and the figures behind them, ``domain_similarity``,
        ``domain_residual``, ``domain_isolation``, ``domain_likeness`` (see `~specalign.prediction.TrainingDomain`);
        snr, good_fraction; nearest_object_id, nearest_similarity (the nearest labelled star), in_reference (the star
        itself is labelled, and its own label went into the prediction); path.

        ``meta`` has ``rejected`` (a list of dicts spectrum_id, object_id, reason; rows in = rows out + rejected),
        ``label_system`` and what it states (``solar_scale``, ``calibrated``), ``space`` (digest of the aligner's
        weights), ``method``, ``errors`` (how they were checked), ``label_quality`` (see below), ``domain``
        (thresholds), ``not_for_science`` and versions.

        Every label is predicted, also one of which the spectra tell nothing.  ``label_quality``, a list of dicts
        instrument, label, unit, n, rmse, r2, tells which: the figures of the model's training stars, each labelled from
        other stars.  At an r2 near 0 a prediction is little more than the mean of the labelled stars.  It is empty
        where the model had fewer than 20 labelled spectra of the instrument.

    Raises
    ------
    EmptySpectrumError
        Not one spectrum could be read and prepared; the message gives the reasons.
    FileNotFoundError
        A path stands for no file.
    CheckpointError
        The folder holds no sound model.
    GridMismatchError
        Prepared spectra of another instrument, grid or mask rule were given.

    Warns
    -----
    MockModelWarning
        The model is not for science.

    Examples
    --------
    >>> import specalign as sa
    >>> table = sa.predict("x1d/*.fits", "model/")  # doctest: +SKIP
    >>> table[table["in_domain"]]["object_id", "teff", "teff_err", "fe_h", "fe_h_err"]  # doctest: +SKIP
    """
    model = model if isinstance(model, LabelTransfer) else LabelTransfer.load(model)
    parts, order, rejected = prepared_parts(spectra, model.records, visits, progress)
    if not parts:
        raise EmptySpectrumError(_nothing_left(rejected))
    tables = [model.predict(part) for part in parts]
    if not model.science:
        warnings.warn(
            f"this model is not for science: {model.facts['note'] or 'it was made to try the software'}",
            MockModelWarning,
            stacklevel=2,
        )
    table = vstack(tables, metadata_conflicts="silent")[np.argsort(np.concatenate(order))]
    table.meta = {**tables[0].meta, "rejected": rejected}  # vstack joins the lists of all parts
    return table


def _nothing_left(rejected):
    names = {}
    for row in rejected:
        names.setdefault(row["reason"], []).append(row["spectrum_id"] or "a spectrum without spectrum_id")
    shown = [
        f"{found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {reason}"
        for reason, found in list(names.items())[:5]
    ]
    more = f"; and {len(names) - 5} more reasons" if len(names) > 5 else ""
    if not shown:
        return "spectra: expected at least one spectrum, got none"
    return f"none of the {len(rejected)} files or spectra could be read and prepared: {'; '.join(shown)}{more}"
