"""What a survey's file is: the facts that its pixels do not tell.

Every product that the package reads is declared once, as a `Product`, beside the function that reads it.

The words that a product may use:

>>> from specalign.io.products import FRAMES, MEDIA, NORMALIZATIONS, VISITS
>>> FRAMES, MEDIA, NORMALIZATIONS, VISITS
(('rest', 'barycentric', 'observed'), ('vacuum', 'air'), ('none', 'continuum', 'median', 'pivot'), ('combined', 'all'))
"""

from dataclasses import dataclass

from specalign.display import Displayed
from specalign.exceptions import UnknownProductError

__all__ = ["FRAMES", "MEDIA", "NORMALIZATIONS", "VISITS", "Product", "check_visits", "describe", "unknown_product"]

FRAMES = ("rest", "barycentric", "observed")
MEDIA = ("vacuum", "air")
NORMALIZATIONS = ("none", "continuum", "median", "pivot")
VISITS = ("combined", "all")


@dataclass(frozen=True)
class Product(Displayed):
    """One kind of file, as its data model describes it.

    Parameters
    ----------
    name : str
        The survey's own name of the product, such as ``"aspcapStar"``.
    instrument : str
        Name of the instrument plugin that prepares it.
    data_model : str
        Address of the data model, or of the paper, that states the facts below.
    frame : {"rest", "barycentric", "observed"}
        Frame of the wavelengths in the file.
    medium : {"vacuum", "air"}
    normalization : {"none", "continuum", "median", "pivot"}
        What the file's flux was divided by.
    resolving_power : float or None
        Nominal lambda / FWHM; None where it varies too much for one number.
    axis_kind : {"wavelength", "coefficient", "time"}
    format : str or None
        Name under which `specutils.Spectrum.read` knows it.

    Examples
    --------
    >>> from specalign.io.products import Product
    >>> product = Product("L1", "weave", "https://example.org/model", frame="barycentric", medium="air")
    >>> product.frame, product.normalization
    ('barycentric', 'none')
    >>> Product("L1", "weave", "https://example.org/model", frame="heliocentric")
    Traceback (most recent call last):
    ...
    ValueError: product 'L1': expected one of ('rest', 'barycentric', 'observed'), got 'heliocentric'
    """

    name: str
    instrument: str
    data_model: str
    frame: str
    medium: str = "vacuum"
    normalization: str = "none"
    resolving_power: float | None = None
    axis_kind: str = "wavelength"
    format: str | None = None

    def __post_init__(self):
        for value, allowed in ((self.frame, FRAMES), (self.medium, MEDIA), (self.normalization, NORMALIZATIONS)):
            if value not in allowed:
                raise ValueError(f"product {self.name!r}: expected one of {allowed}, got {value!r}")


def check_visits(visits):
    """Raise `ValueError` where ``visits`` is not one of the two words that every reader knows.

    Examples
    --------
    >>> from specalign.io.products import check_visits
    >>> check_visits("every")
    Traceback (most recent call last):
    ...
    ValueError: visits: expected one of ('combined', 'all'), got 'every'
    """
    if visits not in VISITS:
        raise ValueError(f"visits: expected one of {VISITS}, got {visits!r}")


def unknown_product(path, found, instrument, products):
    """The error for a sound file that a reader does not read: what was found, and what is read.

    Parameters
    ----------
    path : path-like
    found : str or `~astropy.io.fits.HDUList`
    instrument : str
    products : iterable of Product

    Examples
    --------
    >>> from specalign.io.products import unknown_product
    >>> print(unknown_product("a.fits", "an image", "weave", []))
    a.fits: found an image; the weave reader reads ...
    """
    found = found if isinstance(found, str) else describe(found)
    names = ", ".join(product.name for product in products)
    return UnknownProductError(
        f"{path}: found {found}; the {instrument} reader reads {names}. Use the reader of that file's instrument, or "
        f"read it with specutils and pass the spectrum and its facts to prepare."
    )


def describe(hdus):
    """What a FITS file says of itself, in one line.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from specalign.io.products import describe
    >>> primary = fits.PrimaryHDU()
    >>> primary.header["TELESCOP"] = "JWST"
    >>> describe(fits.HDUList([primary, fits.ImageHDU(name="SCI")]))
    "a FITS file with TELESCOP = 'JWST' and the extensions PRIMARY, SCI"
    """
    header = hdus[0].header
    keys = ("TELESCOP", "INSTRUME", "SURVEY", "DATAMODL", "DMODCLS", "OBSMODE")
    said = [f"{key} = {header[key]!r}" for key in keys if header.get(key)]
    names = [hdu.name or type(hdu).__name__ for hdu in hdus]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"a FITS file with {'; '.join(said) or 'no telescope or instrument named'} and the extensions {shown}"
