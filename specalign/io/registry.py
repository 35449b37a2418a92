"""Every product as a format of `specutils.Spectrum.read` and `specutils.SpectrumList.read`."""

from specutils import Spectrum, SpectrumList
from specutils.io.registers import data_loader

from specalign.exceptions import SpectrumError, UnknownProductError

__all__ = ["register"]


def register(reader, product):
    """Register one product under its ``format``.

    The identifier never claims a file, so that automatic identification is as without this package.

    Parameters
    ----------
    reader : callable
        ``read(path, visits="combined")`` of the instrument's module.
    product : Product
    """

    def read_list(path, visits="combined", **kwargs):
        spectra = reader(path, visits=visits)
        found = {spectrum.meta["product"] for spectrum in spectra}
        if product.name not in found:
            raise UnknownProductError(
                f"{path}: found {', '.join(sorted(found))}, and format={product.format!r} was asked for."
            )
        # An archive may hold several products; the format says which of them is wanted.
        return SpectrumList([spectrum for spectrum in spectra if spectrum.meta["product"] == product.name])

    def read_one(path, visits="combined", **kwargs):
        spectra = read_list(path, visits=visits)
        if len(spectra) > 1:
            raise SpectrumError(
                f"{path}: {len(spectra)} spectra are there; use SpectrumList.read(path, format={product.format!r})."
            )
        return spectra[0]

    options = {"identifier": _never, "force": True, "priority": -10}
    data_loader(product.format, dtype=Spectrum, autogenerate_spectrumlist=False, **options)(read_one)
    data_loader(product.format, dtype=SpectrumList, **options)(read_list)


def _never(*args, **kwargs):
    return False
