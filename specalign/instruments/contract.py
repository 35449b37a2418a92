"""What every instrument plugin must offer; checked when one is used for the first time."""

import json

import astropy.units as u
import numpy as np

from specalign.exceptions import PluginError
from specalign.instruments.prepared import InstrumentRecord, grid_digest
from specalign.io.products import Product
from specalign.io.quality import COMMON_BITS

__all__ = ["CLAUSES", "check_contract"]


def _axis(one):
    values = one.spectral_axis.value
    return np.ndim(values) == 1 and len(values) == one.n_pixels and bool(np.all(np.diff(values) > 0))


def _axis_unit(one):
    return one.spectral_axis.unit == (u.AA if one.axis_kind == "wavelength" else u.dimensionless_unscaled)


def _bits(one):
    bits = one.quality_bits
    own = {name: bit for name, bit in bits.items() if name not in COMMON_BITS}
    return (
        all(bits.get(name) == bit for name, bit in COMMON_BITS.items())
        and all(isinstance(name, str) and 0 <= bit < 24 for name, bit in own.items())
        and len(set(own.values())) == len(own)
    )


def _bad_bits(one):
    return 0 < one.bad_bits < 2**32 and not one.bad_bits >> COMMON_BITS["PARTIAL"] & 1


def _lsf(one):
    return one.lsf_sigma is None or one.lsf_sigma.shape == (one.n_pixels,)


def _products(one):
    return isinstance(one.products, tuple) and all(isinstance(product, Product) for product in one.products)


def _origin(one):
    """An instrument that is not a subclass may do without; `specalign.testing` asks that they are not empty."""
    return all(isinstance(getattr(one, name, ""), str) for name in ("version", "citation"))


def _faults(one):
    """An instrument that is not a subclass may do without."""
    gaps, defects = getattr(one, "gaps", ()), getattr(one, "defects", ())
    names = {*defects, *(name for gap in gaps for name in gap.bits)}
    ordered = all(gap.first <= gap.last and gap.width > 0 for gap in gaps)
    return isinstance(defects, tuple) and ordered and names <= set(one.quality_bits)


def _verbs(one):
    return all(callable(getattr(one, verb)) for verb in ("read", "prepare", "prepare_arrays", "mask", "resample"))


# Each clause: what must hold, in words, and a function that says whether it does.
CLAUSES = (
    ("name is a non-empty str", lambda one: isinstance(one.name, str) and bool(one.name)),
    ("spectral_axis is an increasing Quantity (n_pixels,)", _axis),
    ("spectral_axis is in Angstrom, or a bare number for coefficients", _axis_unit),
    ("grid_digest is that of spectral_axis", lambda one: one.grid_digest == grid_digest(one.spectral_axis)),
    ("lsf_sigma is None or has the shape of spectral_axis", _lsf),
    ("products is a tuple of Product", _products),
    ("quality_bits holds the common bits and distinct own bits 0 to 23", _bits),
    ("bad_bits is an integer of 32 bits without PARTIAL", _bad_bits),
    ("gaps and defects are tuples, and their bits are in quality_bits", _faults),
    ("mask_version is a str", lambda one: isinstance(one.mask_version, str)),
    ("version and citation are str", _origin),
    ("options survive JSON", lambda one: json.loads(json.dumps(one.options)) == one.options),
    ("record is an InstrumentRecord", lambda one: isinstance(one.record, InstrumentRecord)),
    ("read, prepare, prepare_arrays, mask and resample can be called", _verbs),
)


def check_contract(instrument):
    """Raise `PluginError` with the first clause of the contract that an instrument breaks."""
    for clause, holds in CLAUSES:
        try:
            kept = holds(instrument)
        except Exception as error:
            raise PluginError(f"{_label(instrument)} breaks the contract: {clause} ({error!r})") from error
        if not kept:
            raise PluginError(f"{_label(instrument)} breaks the contract: {clause}")


def _label(instrument):
    kind = type(instrument)
    return f"the instrument plugin {kind.__module__}.{kind.__qualname__}"
