"""What a survey's file is: the facts that its pixels do not tell.

Every product that the package reads is declared once, as a `Product`, beside the function that reads it.
"""

from dataclasses import dataclass

__all__ = ["FRAMES", "MEDIA", "NORMALIZATIONS", "Product"]

FRAMES = ("rest", "barycentric", "observed")
MEDIA = ("vacuum", "air")
NORMALIZATIONS = ("none", "continuum", "median", "pivot")


@dataclass(frozen=True)
class Product:
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
