"""The contract of an instrument: what a plugin says of itself, and the verbs that all of them have."""

import importlib

import numpy as np

from specalign.exceptions import EmptySpectrumError, PluginError, SpectrumError
from specalign.instruments.examples import Examples
from specalign.instruments.masking import MASK_VERSION, MaskRules
from specalign.instruments.output import describe_instrument
from specalign.instruments.preparation import Preparation
from specalign.instruments.prepared import InstrumentRecord, grid_digest
from specalign.instruments.resampling import pixel_edges
from specalign.instruments.rows import facts_of_arrays, rows_from_arrays
from specalign.io.quality import COMMON_BITS

__all__ = ["Instrument"]


class Instrument(Preparation, Examples):
    """One spectrograph: its products, its grid, its rules.

    A plugin subclasses it, sets the class attributes, and passes grid and rules to ``__init__``.

    Parameters
    ----------
    spectral_axis : `~astropy.units.Quantity` (P,)
        Vacuum wavelengths of the grid.
    lsf_sigma : `~astropy.units.Quantity` (P,) or None
        Nominal standard deviation of the line-spread function.
    normalization : object
        A rule of `specalign.instruments.continuum`.
    options : dict
        JSON-like; ``get_instrument(name, **options)`` gives the same instrument.

    Attributes
    ----------
    name : str
    reader : str
        Module with ``PRODUCTS``, ``QUALITY_BITS``, ``BAD_BITS`` and ``read``.
    version : str
        Of the plugin's grid, rules and reader; raise it where the same file would give other arrays.
    citation : str
        Paper of the instrument, with a DOI, a bibcode or an arXiv number.
    bad_names : tuple of str
        Own bits that mask a pixel, besides the reader's ``BAD_BITS`` and `specalign.instruments.masking.ALWAYS_BAD`.
    edge_pixels : int
    windows : tuple of `specalign.instruments.masking.Window`
    zero_is_missing : bool
        See `specalign.instruments.masking.MaskRules`.
    velocity_resolved : bool
        False where the resolution hides every velocity, so that none is applied.
    outside : (P,) bool or None
        Pixels of the grid that no detector covers reliably: flagged EDGE whatever the file has there.
    min_good_fraction : float
        A row with a smaller share of good pixels on the grid is rejected.
    gaps : tuple of `specalign.instruments.masking.DetectorGap`
        Holes that `simulate` cuts; `prepare` finds those of real spectra by their flags.
    defects : tuple of str
        Bits of which `simulate` gives one to each bad pixel; empty where a product has no single bad pixels.

    Examples
    --------
    The smallest one (`add_an_instrument` in the how-to pages goes on from here to files):

    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specalign.instruments.base import Instrument
    >>> from specalign.instruments.continuum import MedianFlux
    >>> class Echelle(Instrument):
    ...     name = "echelle"
    ...     reader = "specalign.io.apogee"  # of a plugin: its own module
    ...
    ...     def __init__(self):
    ...         axis = np.arange(5000.0, 5100.0, 0.1) * u.AA
    ...         super().__init__(axis, lsf_sigma=None, normalization=MedianFlux(), options={})
    >>> echelle = Echelle()
    >>> axis = np.arange(499.0, 511.0, 0.02) * u.nm
    >>> echelle.prepare_arrays(np.ones((1, len(axis))), spectral_axis=axis, object_id=["a"]).flux.shape
    (1, 1000)
    """

    name = ""
    reader = ""
    version = ""
    citation = ""
    bad_names = ()
    edge_pixels = 0
    windows = ()
    zero_is_missing = False
    velocity_resolved = True
    min_good_fraction = 0.1
    axis_kind = "wavelength"
    outside = None
    gaps = ()
    defects = ("MASKED",)

    def __init__(self, spectral_axis, *, lsf_sigma, normalization, options):
        self.spectral_axis = spectral_axis
        self.lsf_sigma = lsf_sigma
        self.options = dict(options)
        self.normalization = normalization
        self.edges = pixel_edges(spectral_axis.value)
        names = (*self._module.BAD_BITS, *self.bad_names)
        self.rules = MaskRules.from_names(
            self.quality_bits,
            names,
            edge_pixels=self.edge_pixels,
            windows=self.windows,
            zero_is_missing=self.zero_is_missing,
        )

    def __repr__(self):
        options = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"<{type(self).__name__}({options}): {self.n_pixels} pixels>"

    def _facts(self):
        return describe_instrument(self)

    @property
    def _module(self):
        if not self.reader:
            wanted = (
                "the name of the module with PRODUCTS, QUALITY_BITS, BAD_BITS and read; that of its own is __name__"
            )
            raise PluginError(f"{type(self).__name__}.reader: expected {wanted}, got {self.reader!r}")
        return importlib.import_module(self.reader)

    @property
    def products(self):
        """Tuple of `specalign.io.products.Product`: the files that ``read`` takes."""
        return tuple(self._module.PRODUCTS)

    @property
    def quality_bits(self):
        """Names of the bits of ``quality``: the instrument's own, then those that mean the same everywhere."""
        return {**self._module.QUALITY_BITS, **COMMON_BITS}

    @property
    def bad_bits(self):
        """Integer: a pixel with one of these bits is masked."""
        return self.rules.bad_bits

    @property
    def mask_version(self):
        """Version of the rules that make a pixel bad."""
        return MASK_VERSION

    @property
    def n_pixels(self):
        """Number of pixels of the grid."""
        return len(self.spectral_axis)

    @property
    def grid_digest(self):
        """SHA-256 of the grid."""
        return grid_digest(self.spectral_axis)

    @property
    def record(self):
        """`InstrumentRecord` that travels with arrays, weights and embeddings."""
        return InstrumentRecord(self.name, self.options, self.grid_digest, self.mask_version)

    def read(self, path, visits="combined"):
        """Read one file.

        Parameters
        ----------
        path : str or path-like
        visits : {"combined", "all"}
            The combined spectrum, or each visit too, where the file has them.

        Returns
        -------
        `specutils.SpectrumList`

        Raises
        ------
        UnknownProductError, CorruptFileError, SpectrumError
        """
        return self._module.read(path, visits=visits)

    def prepare(
        self,
        spectra,
        *,
        object_id=None,
        spectrum_id=None,
        medium=None,
        frame=None,
        radial_velocity=None,
        normalized=False,
        progress=None,
    ):
        """Spectra to arrays on the instrument's grid: masked, at rest, normalised.

        Parameters
        ----------
        spectra : `specutils.Spectrum`, list of them, `specutils.SpectrumList` or `specutils.SpectrumCollection`
        object_id, spectrum_id, frame : str or sequence of str, optional
        medium : {"vacuum", "air"}, optional
        radial_velocity : `~astropy.units.Quantity` or `specalign.instruments.measured.MeasuredVelocity`, optional
            Receding positive, or the request to measure it.  These five are taken from the spectra's ``meta`` where
            they are not given, and nothing is measured.
        normalized : bool
            True: the flux is already normalised as the instrument does it, and is left as it is.
        progress : bool, optional
            Show a progress bar after a second; by default as `~specalign.config.conf` says, where somebody looks on.

        Returns
        -------
        PreparedSpectra
            Rows in the order given; ``len(result) + len(result.rejected)`` is the number of spectra.

        Raises
        ------
        EmptySpectrumError
            The one spectrum given (not in a list) has a smaller share of good pixels than ``min_good_fraction``.
        MissingFactError
            A spectrum does not say whose it is, in which frame or medium; the message names the keyword to pass.
        SpectrumUnitError
            Units are missing or cannot be converted.
        SpectrumError
            The content is not usable, or a ``spectrum_id`` occurs twice.
        """
        from specutils import Spectrum

        from specalign.instruments.measured import MeasuredVelocity, measure_rows
        from specalign.instruments.spectra import as_list, rows_from_spectra

        measured = isinstance(radial_velocity, MeasuredVelocity)
        given = {
            "object_id": object_id,
            "spectrum_id": spectrum_id,
            "medium": medium,
            "frame": frame,
            "radial_velocity": None if measured else radial_velocity,
            "normalized": normalized,
        }
        single = isinstance(spectra, Spectrum) and spectra.flux.ndim == 1
        listed = as_list(spectra)
        if not listed:
            raise SpectrumError("spectra: expected at least one spectrum, got none")
        groups, refused = rows_from_spectra(listed, self, given)
        if measured:
            groups, refused = measure_rows(self, groups, refused, radial_velocity)
        if single and refused:
            raise refused[0][2]
        result = self._prepare_groups(groups, refused, len(listed), progress)
        if single and not len(result):
            object_id, reason = str(result.rejected["object_id"][0]), result.rejected["reason"][0]
            raise EmptySpectrumError(f"object {object_id!r}: {reason}")
        return result

    def prepare_arrays(
        self,
        flux,
        ivar=None,
        mask=None,
        *,
        spectral_axis,
        object_id,
        spectrum_id=None,
        quality=None,
        medium="vacuum",
        frame="rest",
        radial_velocity=None,
        normalized=False,
        covariance_factor=None,
    ):
        """Bare arrays of one axis to arrays on the instrument's grid.

        Parameters
        ----------
        flux : (N, P) array or `~astropy.units.Quantity`
        ivar : (N, P) array, optional
            0 = no information.  Without it, a signal to noise of 1 a pixel is assumed, the same for all.
        mask : (N, P) bool, optional
            True = bad.
        spectral_axis : `~astropy.units.Quantity` (P,)
            Increasing or decreasing.
        object_id, spectrum_id : sequence of str (N,)
            ``spectrum_id`` is made from ``object_id`` where it is not given.
        quality : (N, P) int, optional
            Bits numbered as in ``quality_bits``.
        medium : {"vacuum", "air"}
        frame : {"rest", "barycentric", "observed"} or sequence of them (N,)
        radial_velocity : `~astropy.units.Quantity` scalar or (N,), optional
            Receding positive; applied only where the frame is not rest.
        normalized : bool
            True: leave the flux as it is.
        covariance_factor : tuple of (N, K) and (K, P), optional
            The correlated part of the noise is ``basis.T @ diag(scale[i] ** 2) @ basis``.

        Returns
        -------
        PreparedSpectra

        Raises
        ------
        SpectrumUnitError, SpectrumError, MissingFactError

        Examples
        --------
        >>> import astropy.units as u
        >>> import numpy as np
        >>> from specalign.instruments import get_instrument
        >>> apogee = get_instrument("apogee")
        >>> wavelength = np.linspace(15000, 17100, 9000) * u.AA
        >>> prepared = apogee.prepare_arrays(np.ones((2, 9000)), spectral_axis=wavelength, object_id=["a", "b"])
        >>> prepared.flux.shape
        (2, 8575)
        """
        n = 1 if np.ndim(flux) == 1 else len(flux)
        facts = facts_of_arrays(n, object_id, spectrum_id, frame, radial_velocity)
        rows = rows_from_arrays(flux, ivar, mask, quality, spectral_axis, medium, facts, normalized, covariance_factor)
        rows = self.convert(rows)
        rows.index = np.arange(n)
        return self._prepare_groups([rows], [], n)

    def simulate(self, spectra, snr, rng, **options):
        """Model spectra as this instrument would see them, ready for `prepare`.

        Parameters
        ----------
        spectra : `specutils.Spectrum`, list of them, `specutils.SpectrumList` or `specutils.SpectrumCollection`
        snr : float, (N,), (P,), (N, P) or callable
        rng : int or `numpy.random.Generator`
        **options
            Of `specalign.instruments.simulation.simulate`, which tells all of it.

        Returns
        -------
        `specutils.Spectrum` or `specutils.SpectrumList`
        """
        from specalign.instruments.simulation import simulate

        return simulate(self, spectra, snr, rng, **options)

    def match_resolution(self, spectrum, to, *, min_coverage=0.75):
        """A spectrum of this instrument convolved to a lower resolution, on its own pixels.

        Parameters
        ----------
        spectrum : `specutils.Spectrum`
            Its line-spread function is taken to be ``lsf_sigma``.
        to : float, Instrument, PreparedSpectra or `~astropy.units.Quantity`
        min_coverage : float
            See `specalign.instruments.prepared.PreparedSpectra.match_resolution`.

        Returns
        -------
        `specutils.Spectrum`

        Raises
        ------
        MissingFactError, SpectrumUnitError
        SpectrumError
            The resolution wanted is higher than the instrument's.
        """
        from specalign.instruments.steps import match_spectrum

        return match_spectrum(self, spectrum, to, min_coverage)

    def mask(self, spectrum):
        """A copy of a spectrum with all bad-pixel rules applied to its mask and to ``meta['quality']``.

        Raises
        ------
        MissingFactError, SpectrumUnitError, SpectrumError
        """
        from specalign.instruments.steps import mask_spectrum

        return mask_spectrum(self, spectrum)

    def resample(self, spectrum):
        """A spectrum brought to rest, if its velocity is known, and onto the instrument's grid; not normalised.

        Raises
        ------
        MissingFactError, SpectrumUnitError, SpectrumError
        """
        from specalign.instruments.steps import resample_spectrum

        return resample_spectrum(self, spectrum)
