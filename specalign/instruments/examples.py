"""Examples of what an instrument sees, made without any data: for checks, documentation and first tries."""

import astropy.units as u
import numpy as np

from specalign.display import Displayed
from specalign.exceptions import SpectrumError

__all__ = ["Examples", "simulated_example"]

MARGIN = 2e-3  # of the wavelength: twice the shift of the fastest example, and room for the line-spread function
STEP = 0.4  # of the narrowest Gaussian that is left to apply
FASTEST = 150.0  # km/s
LINES = 60


class Examples(Displayed):
    """Two methods that an instrument offers beside its verbs.

    Examples
    --------
    Every `~specalign.instruments.base.Instrument` has them:

    >>> from specalign import get_instrument
    >>> from specalign.instruments.examples import Examples
    >>> isinstance(get_instrument("apogee"), Examples)
    True
    """

    def make_example(self, rng, n=4):
        """Spectra of different stars, as ``read`` would give them.

        They have mask, uncertainty and facts, some bad pixels, and the frame, medium and normalisation of the first
        product that has this instrument's kind of axis. Those that are not at rest state their velocity. Override it
        where lines on the instrument's own grid are no good example.

        Parameters
        ----------
        rng : int or `numpy.random.Generator`
            All that is drawn follows from it.
        n : int

        Returns
        -------
        `specutils.SpectrumList` (n)
            Every ``object_id`` is another star.

        Raises
        ------
        SpectrumError
            The instrument has no wavelengths, and must make its own examples.

        Examples
        --------
        >>> from specalign import get_instrument
        >>> lamost = get_instrument("lamost")
        >>> spectra = lamost.make_example(rng=1, n=3)
        >>> spectra[0].meta["product"], spectra[0].meta["frame"]
        ('lrs-coadd', 'barycentric')
        >>> len(lamost.prepare(spectra))
        3
        """
        return simulated_example(self, rng, n)

    def write_example(self, path, rng):
        """Write a small file of one of the instrument's products, which ``read`` takes.

        Parameters
        ----------
        path : path-like
            Where; the ending that the product has is added.
        rng : int or `numpy.random.Generator`

        Returns
        -------
        pathlib.Path
            Of the file.

        Raises
        ------
        SpectrumError
            The instrument, or this setting of it, has no example of a file.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from specalign import get_instrument
        >>> apogee = get_instrument("apogee")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = apogee.write_example(Path(folder) / "star", rng=1)
        ...     path.name, len(apogee.read(path))
        ('star.fits', 1)
        """
        raise SpectrumError(
            f"{self.name} with options {self.options} writes no example; give {type(self).__name__} a method "
            f"write_example(path, rng) that writes a file of one of its products and returns its path"
        )


def simulated_example(instrument, rng, n, product=None):
    """See `Examples.make_example`; the facts are those of ``product``.

    Parameters
    ----------
    instrument : Instrument
    rng : int or `numpy.random.Generator`
    n : int
    product : Product, optional
        Default: the first that has the instrument's kind of axis.

    Examples
    --------
    >>> from specalign import get_instrument
    >>> from specalign.instruments.examples import simulated_example
    >>> apogee = get_instrument("apogee")
    >>> simulated_example(apogee, 1, 2, product=apogee.products[2])[1].meta["frame"]
    'observed'
    """
    from specutils import SpectrumList

    if instrument.axis_kind != "wavelength":
        raise SpectrumError(f"{instrument.name} with options {instrument.options} has no wavelengths: override it")
    rng = np.random.default_rng(rng)
    product = product or next((p for p in instrument.products if p.axis_kind == "wavelength"), None)
    if product is None:
        raise SpectrumError(f"products: expected one of {instrument.name} with a wavelength axis, got none")
    moving = product.frame != "rest" and instrument.velocity_resolved
    velocity = rng.uniform(-FASTEST, FASTEST, n) * u.km / u.s if moving else None
    snr = rng.uniform(50, 200, n)[:, None]  # a column, which n pixels cannot be mistaken for
    models = _models(instrument, rng, n, product)
    seen = instrument.simulate(
        models, snr, rng, radial_velocity=velocity, bad_fraction=0.01, convolve=instrument.lsf_sigma is not None
    )
    return SpectrumList([_as_read(one, product, moving) for one in seen])


def _models(instrument, rng, n, product):
    """Noiseless stars: the same lines, each of another depth, on another slope."""
    from specutils import Spectrum

    wavelength = _fine(instrument)
    places = wavelength[0] * (wavelength[-1] / wavelength[0]) ** rng.uniform(size=LINES)
    width = 2 * _response(instrument, places)
    x = np.linspace(-1, 1, wavelength.size)
    depth, slope = rng.uniform(0.1, 0.6, (n, LINES)), rng.uniform(-0.4, 0.4, n)
    if product.normalization == "continuum":
        slope[:] = 0
    flux = np.ones((n, wavelength.size))
    for line, (place, sigma) in enumerate(zip(places, width, strict=True)):
        near = slice(*np.searchsorted(wavelength, (place - 6 * sigma, place + 6 * sigma)))
        flux[:, near] *= 1 - depth[:, line, None] * np.exp(-0.5 * ((wavelength[near] - place) / sigma) ** 2)
    names = [f"{instrument.name}-example-{k}" for k in range(n)]
    facts = {"object_id": names, "medium": "vacuum", "normalization": product.normalization}
    return Spectrum((flux * (1 + slope[:, None] * x)) << u.dimensionless_unscaled, wavelength * u.AA, meta=facts)


def _response(instrument, places):
    """Width (Angstrom) that a line has at least on the instrument's pixels."""
    axis, pixel = instrument.spectral_axis.value, instrument.edges.upper - instrument.edges.lower
    sigma = pixel if instrument.lsf_sigma is None else np.maximum(instrument.lsf_sigma.to_value(u.AA), pixel)
    return np.interp(places, axis, sigma)


def _fine(instrument):
    """Wavelengths, even in their logarithm, finer than anything that the instrument resolves, and a little longer."""
    axis, pixel = instrument.spectral_axis.value, instrument.edges.upper - instrument.edges.lower
    least = 0.1 * pixel
    if instrument.lsf_sigma is not None:
        gaussian = np.maximum(instrument.lsf_sigma.to_value(u.AA) ** 2 - pixel**2 / 12, 0)
        least = np.maximum(least, np.sqrt(gaussian))
    wide = 5 * np.max(_response(instrument, axis) / axis)
    ends = np.log(axis[[0, -1]]) + np.array([-1, 1]) * (MARGIN + wide)
    count = int(np.ptp(ends) / (STEP * np.min(least / axis))) + 2
    return np.exp(np.linspace(*ends, count))


def _as_read(spectrum, product, moving):
    """A simulated spectrum with the facts and the medium that a file of the product has."""
    from specutils import Spectrum

    axis = spectrum.spectral_axis
    meta = {
        **spectrum.meta,
        "product": product.name,
        "frame": product.frame,
        "medium": product.medium,
        "resolving_power": product.resolving_power,
        "spectrum_id": f"{product.name}-{spectrum.meta['object_id']}",
        "velocity_source": f"{product.name} example" if moving else "none",
    }
    return Spectrum(
        flux=spectrum.flux,
        spectral_axis=_in_air(axis) if product.medium == "air" else axis,
        uncertainty=spectrum.uncertainty,
        mask=spectrum.mask,
        meta=meta,
    )


def _in_air(axis):
    from specutils.utils.wcs_utils import vac_to_air

    return vac_to_air(u.Quantity(axis), method="Morton2000")
