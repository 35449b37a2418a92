"""Which spectra an encoder was trained on: the instrument with its options and mask rules, and the grid in full."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

import astropy.units as u
import numpy as np

from specalign import __version__
from specalign.alignment.inputs import describe_record, plain_record
from specalign.display import Displayed, brief
from specalign.exceptions import GridMismatchError
from specalign.instruments.prepared import InstrumentRecord

__all__ = ["SpectraOrigin", "software_versions"]


@dataclass(frozen=True, repr=False)
class SpectraOrigin(Displayed):
    """Where the spectra of a training came from.

    Parameters
    ----------
    instrument : InstrumentRecord
        Name, options, digest of the grid and version of the mask rules.
    spectral_axis : `~astropy.units.Quantity` (P,)
        The grid; wavelengths are in vacuum.
    axis_kind : {"wavelength", "coefficient", "time"}

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.alignment import SpectraOrigin
    >>> xp = sa.get_instrument("gaia_xp")
    >>> prepared = xp.prepare_arrays(
    ...     np.ones((1, 343)), spectral_axis=xp.spectral_axis, object_id=["a"], normalized=True
    ... )
    >>> SpectraOrigin.of(prepared)
    <SpectraOrigin gaia_xp with grid ..., mask rules 1 and options {...}: 343 pixels from 3360 to 10200 Angstrom>
    """

    instrument: InstrumentRecord
    spectral_axis: u.Quantity
    axis_kind: str = "wavelength"

    @classmethod
    def of(cls, prepared):
        """Of prepared spectra."""
        return cls(prepared.instrument, prepared.spectral_axis, prepared.axis_kind)

    def __repr__(self):
        values = self.spectral_axis
        ends = f"from {values[0].value:.6g} to {values[-1].value:.6g} {values.unit}".rstrip()
        return f"<SpectraOrigin {describe_record(self.instrument)}: {len(values)} pixels {ends}>"

    def _facts(self):
        return {"spectra": describe_record(self.instrument), self.axis_kind: brief(self.spectral_axis)}

    def check(self, prepared):
        """Refuse spectra on another grid, or prepared in another way: the scaling of the input would be wrong for them.

        Parameters
        ----------
        prepared : PreparedSpectra

        Raises
        ------
        GridMismatchError
            The grid, the options or the mask rules differ; the message names both.
        """
        other = prepared.instrument
        if plain_record(other) != plain_record(self.instrument):
            raise GridMismatchError(
                f"the encoder was trained on {describe_record(self.instrument)}, the spectra come from "
                f"{describe_record(other)}; prepare them on its grid and with its options, or give "
                f"encoder.on_grid(spectral_axis) where the encoder can go on with others ('specformer')"
            )


def software_versions():
    """Versions of what computes the vectors: dict of str to str."""
    versions = {name: version(name) for name in ("torch", "astropy", "safetensors")}
    return {"specalign": __version__, "python": platform.python_version(), "numpy": np.__version__} | versions
