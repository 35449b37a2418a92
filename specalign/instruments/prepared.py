"""Spectra of one instrument on one grid, as arrays that encoders take."""

import dataclasses
import hashlib
from dataclasses import dataclass, field

import astropy.units as u
import numpy as np
from astropy.io.registry import UnifiedReadWriteMethod
from astropy.table import QTable, hstack, vstack

from specalign.display import Displayed
from specalign.exceptions import GridMismatchError, SpectrumError
from specalign.io.unified import ReadMethod, WriteMethod, register_format

__all__ = ["InstrumentRecord", "PreparedSpectra", "empty_rejected", "grid_digest"]


#: Pixels of which the good ones are counted when spectra are shown.
_MOST_PIXELS = 2**30


def grid_digest(spectral_axis):
    """SHA-256 of a grid, rounded to 1e-9 relative, so that two computations of one grid agree.

    Parameters
    ----------
    spectral_axis : `~astropy.units.Quantity` (P,)
        Lengths are compared in Angstrom, whatever their unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from specalign.instruments.prepared import grid_digest
    >>> grid_digest([500, 501] * u.nm) == grid_digest([5000, 5010] * u.AA)
    True
    """
    axis = u.Quantity(spectral_axis)
    unit = u.AA if axis.unit.is_equivalent(u.AA) else axis.unit
    text = " ".join(f"{value:.9e}" for value in axis.to_value(unit)) + f" {unit}"
    return hashlib.sha256(text.encode()).hexdigest()


def empty_rejected():
    """The table of rejected rows, without any.

    Examples
    --------
    >>> from specalign.instruments.prepared import empty_rejected
    >>> empty_rejected().colnames
    ['spectrum_id', 'object_id', 'reason']
    """
    return QTable(names=("spectrum_id", "object_id", "reason"), dtype=("U64", "U64", "U200"))


@dataclass(frozen=True)
class InstrumentRecord(Displayed):
    """Which instrument, with which options, grid and mask rules, made an array.

    Parameters
    ----------
    name : str
    options : dict
        JSON-like options of `specalign.get_instrument`.
    grid_digest : str
    mask_version : str

    Examples
    --------
    >>> from specalign import get_instrument
    >>> from specalign.instruments.prepared import InstrumentRecord
    >>> record = get_instrument("lamost", mode="mrs").record
    >>> isinstance(record, InstrumentRecord), record.name, record.options["mode"]
    (True, 'lamost', 'mrs')
    >>> get_instrument(record.name, **record.options).grid_digest == record.grid_digest
    True
    """

    name: str
    options: dict
    grid_digest: str
    mask_version: str


@dataclass
class PreparedSpectra(Displayed):
    """Spectra of one instrument on its grid: rest-frame vacuum wavelengths, normalised, masked.

    Bad pixels have ``mask`` True, ``ivar`` exactly 0 and a finite ``flux``.  Rows that could not be prepared are
    in ``rejected`` with their reason, so that rows in = rows out + rejected.

    Parameters
    ----------
    flux, ivar : (N, P) float32
        In units of ``norm`` (and its inverse square).
    mask : (N, P) bool
        True = bad.
    quality : (N, P) uint32
        Bits named by ``quality_bits``; ``mask`` follows from them by the instrument's versioned rule.
    norm : (N, P) or (N, 1) float32
        What the flux was divided by, in ``flux_unit``.
    object_id, spectrum_id : (N,) str
        The star, and the row (unique).
    spectral_axis : `~astropy.units.Quantity` (P,)
        Vacuum wavelength in Angstrom, or a number for coefficients.
    lsf_sigma : `~astropy.units.Quantity` (P,) or (N, P), or None
        Standard deviation of the line-spread function.
    catalog : `~astropy.table.QTable`
        A row a spectrum: snr, radial_velocity, velocity_applied, velocity_source, frame, product, path, ...
    instrument : InstrumentRecord
    quality_bits : dict of str to int
    flux_unit : `~astropy.units.Unit`
    axis_kind : {"wavelength", "coefficient", "time"}
    covariance_factor : tuple of (N, K) and (K, P) float32, or None
        The correlated part of the noise is ``basis.T @ diag(scale[i] ** 2) @ basis``.
    rejected : `~astropy.table.QTable`
        spectrum_id, object_id, reason.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> apogee = sa.get_instrument("apogee")
    >>> flux = np.ones((3, apogee.n_pixels))
    >>> prepared = apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=["a", "b", "b"])
    >>> prepared[1:].object_id.tolist(), len(sa.PreparedSpectra.concatenate([prepared[:1], prepared[1:]]))
    (['b', 'b'], 3)
    >>> bool(prepared.mask.any()), bool((prepared.ivar[prepared.mask] == 0).all())  # chip gaps and edges
    (True, True)
    """

    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray
    quality: np.ndarray
    norm: np.ndarray
    object_id: np.ndarray
    spectrum_id: np.ndarray
    spectral_axis: u.Quantity
    instrument: InstrumentRecord
    catalog: QTable
    quality_bits: dict
    lsf_sigma: u.Quantity | None = None
    flux_unit: u.UnitBase = u.dimensionless_unscaled
    axis_kind: str = "wavelength"
    covariance_factor: tuple | None = None
    rejected: QTable = field(default_factory=empty_rejected)

    _ROWS = ("flux", "ivar", "mask", "quality", "norm", "object_id", "spectrum_id")

    def __post_init__(self):
        for name in ("flux", "ivar"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float32))
        self.norm = np.asarray(self.norm, dtype=np.float32)
        self.mask, self.quality = np.asarray(self.mask, dtype=bool), np.asarray(self.quality, dtype=np.uint32)
        if self.covariance_factor is not None:
            self.covariance_factor = tuple(np.asarray(part, dtype=np.float32) for part in self.covariance_factor)
        self.object_id = np.asarray(self.object_id, dtype=str)
        self.spectrum_id = np.asarray(self.spectrum_id, dtype=str)
        self._check_shapes()
        self._check_identity()

    def _check_shapes(self):
        n, p = self.flux.shape
        expected = {"ivar": (n, p), "mask": (n, p), "quality": (n, p), "object_id": (n,), "spectrum_id": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise SpectrumError(f"{name}: expected shape {shape}, got {getattr(self, name).shape}")
        if self.norm.shape not in ((n, p), (n, 1)):
            raise SpectrumError(f"norm: expected shape {(n, p)} or {(n, 1)}, got {self.norm.shape}")
        if len(self.spectral_axis) != p or len(self.catalog) != n:
            raise SpectrumError(
                f"expected {p} wavelengths and {n} catalogue rows, got {len(self.spectral_axis)}, {len(self.catalog)}"
            )

    def _check_identity(self):
        names, counts = np.unique(self.spectrum_id, return_counts=True)
        if (counts > 1).any():
            raise SpectrumError(
                f"spectrum_id must be unique, but {str(names[counts > 1][0])!r} is repeated; "
                f"several visits of a star share object_id, not spectrum_id"
            )

    def __len__(self):
        return len(self.flux)

    def __repr__(self):
        good = f"{100 * self._good_share():.1f} % good"
        return (
            f"<PreparedSpectra {self.instrument.name}: {len(self)} spectra of {self._n_objects()} objects, "
            f"{self.flux.shape[1]} pixels, {good}, {len(self.rejected)} rejected>"
        )

    def _facts(self):
        from specalign.instruments.output import describe_prepared

        return describe_prepared(self)

    def _n_objects(self):
        return len(set(self.object_id.tolist()))

    def _good_share(self):
        """The share of good pixels, of some thousand rows where counting all of them would take seconds."""
        mask = self.mask[:: max(1, self.mask.size // _MOST_PIXELS)]
        return 1 - np.count_nonzero(mask) / mask.size if mask.size else 0.0

    def to_spectrum(self, i, *, absolute=False):
        """One row as a `specutils.Spectrum` with mask, uncertainty, quality bits and facts.

        Parameters
        ----------
        i : int
        absolute : bool
            True: multiply by ``norm`` again, and give the unit back.

        Examples
        --------
        >>> import astropy.units as u
        >>> import numpy as np
        >>> from specalign.instruments import get_instrument
        >>> xp = get_instrument("gaia_xp")
        >>> flux = np.full((1, 343), 3e-17) * u.W / u.m**2 / u.nm
        >>> prepared = xp.prepare_arrays(flux, spectral_axis=xp.spectral_axis, object_id=["star"])
        >>> prepared.to_spectrum(0).flux[0], prepared.to_spectrum(0, absolute=True).flux[0].to(flux.unit)
        (<Quantity 1.>, <Quantity 3e-17 W / (nm m2)>)
        """
        from specalign.instruments.storage import row_to_spectrum

        return row_to_spectrum(self, range(len(self))[i], absolute)

    def match_resolution(self, to, *, min_coverage=0.75):
        """These spectra convolved to a lower resolution, on the same grid.

        A pixel of the result is sum(K m f) / sum(K m), with the Gaussian K that takes ``lsf_sigma`` to the one wanted,
        in quadrature, and m = 1 for good pixels; its variance is sum(K^2 m / ivar) / sum(K m)^2.

        Parameters
        ----------
        to : float, Instrument, PreparedSpectra or `~astropy.units.Quantity`
            Resolving power, one or (P,); or whose line-spread function the spectra shall have (beyond its ends, the
            resolving power of the end); or ``lsf_sigma`` itself, one or (P,).
        min_coverage : float
            A pixel is bad, with the bit UNCOVERED, where less than this share of K lies on good pixels; what is less
            covered is dominated by one side.

        Returns
        -------
        PreparedSpectra
            Its ``lsf_sigma`` is the one wanted, and ``instrument.options["match_resolution"]`` says so, so that it is
            not mixed with others.  Rows of which nothing is left are in ``rejected``.

        Raises
        ------
        SpectrumError
            The resolution wanted is higher than that of the spectra, or there is no ``lsf_sigma``.
        SpectrumUnitError

        Notes
        -----
        The noise of neighbours is correlated afterwards: by exp(-d^2 / 4 s^2) at a distance of d pixels where K has a
        standard deviation of s pixels.  ``ivar`` is the diagonal only.  The normalisation is not renewed.

        Examples
        --------
        >>> import numpy as np
        >>> from specalign.instruments import get_instrument
        >>> apogee = get_instrument("apogee")
        >>> flux = np.ones((2, 8575))
        >>> prepared = apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=["a", "b"])
        >>> matched = prepared.match_resolution(to=2700)
        >>> (matched.spectral_axis[0] / matched.lsf_sigma[0] / 2.3548).round()
        <Quantity 2700.>
        """
        from specalign.instruments.resolution import match_prepared

        return match_prepared(self, to, min_coverage)

    read = UnifiedReadWriteMethod(ReadMethod)
    write = UnifiedReadWriteMethod(WriteMethod)

    def plot(self, ax=None, **options):
        """Draw some rows, with a band of one standard deviation, and gaps and marks where pixels are masked.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to draw; by default in a new figure.
        **options
            Of `specalign.plots.plot_prepared`, such as ``rows``.

        Returns
        -------
        `~matplotlib.figure.Figure` or `~matplotlib.axes.Axes`
            The new figure, or the ``ax`` that was given.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from specalign.instruments import get_instrument
        >>> apogee = get_instrument("apogee")
        >>> flux = np.ones((2, 8575))
        >>> prepared = apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=["a", "b"])
        >>> figure = prepared.plot(rows=[0])
        >>> prepared.plot(ax=figure.axes[0], rows=[1]) is figure.axes[0]
        True
        """
        from specalign.plots import plot_prepared

        figure = plot_prepared(self, ax=ax, **options)
        return figure if ax is None else ax

    @property
    def snr(self):
        """Signal to noise a pixel (N,) float32: the median over good pixels; 0 where there are none."""
        ratio = np.where(self.mask, np.nan, np.abs(self.flux) * np.sqrt(self.ivar))
        empty = self.mask.all(axis=1)
        ratio[empty] = 0
        return np.nanmedian(ratio, axis=1).astype(np.float32) if ratio.size else np.zeros(len(self), np.float32)

    @property
    def good_fraction(self):
        """Share of good pixels (N,) float32."""
        return (1 - self.mask.mean(axis=1)).astype(np.float32)

    def __getitem__(self, rows):
        """Some rows, by slice, boolean mask, index array or one integer (which gives one row)."""
        if isinstance(rows, (int, np.integer)):
            rows = [range(len(self))[rows]]
        changes = {name: getattr(self, name)[rows] for name in self._ROWS}
        changes["catalog"] = self.catalog[rows]
        if self.lsf_sigma is not None and self.lsf_sigma.ndim == 2:
            changes["lsf_sigma"] = self.lsf_sigma[rows]
        if self.covariance_factor is not None:
            changes["covariance_factor"] = (self.covariance_factor[0][rows], self.covariance_factor[1])
        return dataclasses.replace(self, rejected=empty_rejected(), **changes)

    @classmethod
    def concatenate(cls, parts):
        """Join prepared spectra of one instrument, options and grid; rejected rows are joined too.

        Raises
        ------
        GridMismatchError
            The parts come from different instruments, options, grids or mask rules.
        SpectrumError
            The parts mix frames, or one spectrum_id occurs twice.
        """
        parts = list(parts)
        if not parts:
            raise SpectrumError("expected at least one PreparedSpectra to concatenate, got none")
        for part in parts[1:]:
            parts[0].check_same_grid(part)
        changes = {name: np.concatenate([getattr(p, name) for p in _same_norm(parts)]) for name in cls._ROWS}
        changes["catalog"] = _join_catalogs([p.catalog for p in parts])
        changes["rejected"] = vstack([p.rejected for p in parts], metadata_conflicts="silent")
        if parts[0].lsf_sigma is not None and parts[0].lsf_sigma.ndim == 2:
            changes["lsf_sigma"] = np.concatenate([p.lsf_sigma for p in parts])
        changes["covariance_factor"] = _join_covariance(parts)
        return dataclasses.replace(parts[0], **changes)

    def check_same_grid(self, other):
        """Raise `GridMismatchError` unless the other spectra were prepared in the same way, in the same frame."""
        mine, theirs = self.instrument, other.instrument
        if mine != theirs:
            raise GridMismatchError(
                f"spectra of {mine.name} with grid {mine.grid_digest[:12]}, mask rules {mine.mask_version} and options "
                f"{mine.options} cannot be joined with {theirs.name}, grid {theirs.grid_digest[:12]}, mask rules "
                f"{theirs.mask_version}, options {theirs.options}; prepare both in the same way"
            )
        frames = {str(f) for part in (self, other) if "frame" in part.catalog.colnames for f in part.catalog["frame"]}
        if len(frames) > 1:
            raise SpectrumError(f"expected one frame, got {' and '.join(sorted(frames))}; prepare them separately")


def _join_catalogs(catalogs):
    """Rows of all tables; a number that a table does not have is NaN, and a text empty, instead of masked."""
    first = {name: table[name] for table in reversed(catalogs) for name in table.colnames}
    filled = []
    for table in catalogs:
        missing = {name: _nothing(column, len(table)) for name, column in first.items() if name not in table.colnames}
        filled.append(table if not missing else hstack([table, QTable(missing)], metadata_conflicts="silent"))
    return vstack(filled, metadata_conflicts="silent")


def _nothing(column, n):
    if isinstance(column, u.Quantity):
        return np.full(n, np.nan) * column.unit
    return np.full(n, np.nan) if column.dtype.kind == "f" else np.zeros(n, column.dtype)


def _same_norm(parts):
    if len({p.norm.shape[1:] for p in parts}) == 1:
        return parts
    return [dataclasses.replace(p, norm=np.broadcast_to(p.norm, p.flux.shape).copy()) for p in parts]


def _join_covariance(parts):
    if any(p.covariance_factor is None for p in parts):
        return None
    basis = parts[0].covariance_factor[1]
    if any(not np.array_equal(p.covariance_factor[1], basis) for p in parts):
        raise GridMismatchError("the parts have different bases of correlated noise; prepare them in the same way")
    return np.concatenate([p.covariance_factor[0] for p in parts]), basis


def _read_fits(path):
    """Read the FITS file that ``write`` made, with its checksums.

    Parameters
    ----------
    path : path-like
    """
    from specalign.instruments.storage import read_prepared

    return read_prepared(path)


def _write_fits(prepared, path):
    """Write one FITS file with checksums.

    The extensions FLUX, IVAR, MASK (1 = bad), QUALITY and NORM are images (N, P); GRID has the wavelengths, ROWS a row
    a spectrum, REJECTED what could not be prepared.  FACTS in the first header says what made them, as JSON.

    Parameters
    ----------
    path : path-like
    """
    from specalign.instruments.storage import write_prepared

    write_prepared(prepared, path)


register_format("fits", PreparedSpectra, _read_fits, _write_fits)
