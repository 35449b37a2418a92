"""An encoder of one instrument as a folder: JSON with what it is and was trained on, safetensors with the rest."""

import astropy.units as u
import torch

from specalign.alignment import weights
from specalign.alignment.checkpoint import ENCODER, load_checkpoint, save_checkpoint
from specalign.alignment.inputs import plain_record
from specalign.alignment.origin import SpectraOrigin, software_versions
from specalign.exceptions import CheckpointError, GridMismatchError, SpecalignError
from specalign.instruments.prepared import grid_digest

__all__ = ["load_encoder", "save_encoder"]


def save_encoder(encoder, folder, prepared=None):
    """Write one trained encoder into a folder: ``encoder.json`` and a safetensors file, replaced as a whole.

    The folder keeps the plugin's name and options, the weights, the instrument (with options, grid and version of the
    mask rules), all wavelengths, the history of the pre-training, and the versions of the software.

    Parameters
    ----------
    encoder : Encoder
        Such as `specalign.pretrain` gives.
    folder : str or `~pathlib.Path`
        Made if it does not exist.
    prepared : PreparedSpectra, optional
        Spectra like those of the training, for an encoder that does not know them: one that no pre-training made,
        such as ``aligner.encoders["lamost"]``.

    Raises
    ------
    SpecalignError
        The encoder is not trained, or nothing says which spectra it takes.
    GridMismatchError
        ``prepared`` has another grid, other options or other mask rules.
    PluginError
        The encoder is no installed plugin, so that nobody could load it.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.alignment import load_encoder, save_encoder
    >>> xp = sa.get_instrument("gaia_xp")
    >>> flux = 1 + 0.1 * np.random.default_rng(0).normal(size=(40, 1)) * np.linspace(-1, 1, 343)
    >>> names = [f"star {i}" for i in range(40)]
    >>> prepared = xp.prepare_arrays(
    ...     flux, ivar=np.full_like(flux, 1e4), spectral_axis=xp.spectral_axis, object_id=names, normalized=True
    ... )
    >>> encoder = sa.pretrain("autoencoder", prepared, hidden=8, bottleneck=2, max_epochs=1, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_encoder(encoder, folder)
    ...     loaded = load_encoder(folder)
    >>> loaded.origin.spectral_axis[:2], len(loaded.history.epochs)
    (<Quantity [3360., 3380.] Angstrom>, 1)
    """
    origin = _origin(encoder, prepared)
    unit = u.AA if origin.spectral_axis.unit.is_equivalent(u.AA) else origin.spectral_axis.unit
    description = {
        "encoder": weights.plugin_name("encoders", encoder),
        "config": encoder.config(),
        "record": plain_record(origin.instrument),
        "axis": {"kind": origin.axis_kind, "unit": unit.to_string()},
        "history": None if encoder.history is None else encoder.history.as_dict(),
        "software": software_versions(),
    }
    axis = torch.tensor(origin.spectral_axis.to_value(unit), dtype=torch.float64)
    tensors = weights.tensors({"spectra": encoder}, None, None) | {weights.AXIS: axis}
    save_checkpoint(folder, description, tensors, ENCODER)


def _origin(encoder, prepared):
    if not encoder.scaled:
        raise SpecalignError("the encoder is not trained: its input has no scaling; call specalign.pretrain")
    if prepared is None and encoder.origin is None:
        raise SpecalignError(
            "expected an encoder that knows the spectra of its training, got one that does not; give prepared="
        )
    origin = encoder.origin if prepared is None else SpectraOrigin.of(prepared)
    if prepared is not None and encoder.origin is not None:
        encoder.origin.check(prepared)
    if len(origin.spectral_axis) != encoder.n_pixels:
        raise GridMismatchError(
            f"the encoder takes {encoder.n_pixels} pixels, the spectra have {len(origin.spectral_axis)}"
        )
    return origin


def load_encoder(folder, prepared=None):
    """Read an encoder that `save_encoder` wrote; nothing in the files is executed.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
    prepared : PreparedSpectra, optional
        Spectra that it is meant for, whose grid, options and mask rules are compared.

    Returns
    -------
    Encoder
        With ``history`` and ``origin``, and the scaling of its input.  Give it to an `Aligner`, a `LabelRegressor` or
        `specalign.pretrain`: each of them refuses spectra on another grid, or of other options or mask rules.  Nothing
        of it is frozen, even if it was when it was saved.

    Raises
    ------
    CheckpointError
        A file is missing, was changed, does not fit the others, or was written by another version of the code.
    GridMismatchError
        ``prepared`` has another grid, other options or other mask rules than the training.
    UnknownPluginError
        The encoder's plugin is not installed.

    Examples
    --------
    >>> from specalign.alignment import load_encoder
    >>> load_encoder("no such folder")
    Traceback (most recent call last):
    ...
    specalign.exceptions.CheckpointError: no such folder/encoder.json: expected a file of a saved encoder, found none...
    """
    description, tensors = load_checkpoint(folder, ENCODER)
    encoder, origin = weights.restore_encoder(description, tensors, folder)
    if grid_digest(origin.spectral_axis) != origin.instrument.grid_digest:
        raise CheckpointError(f"{folder}: the wavelengths do not have the digest of {origin.instrument.name}'s grid")
    encoder.origin = origin
    if prepared is not None:
        encoder.origin.check(prepared)
    return encoder
