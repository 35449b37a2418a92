"""What an instrument must say of itself."""

import importlib
import re
import sys
import unittest

import astropy.units as u
import numpy as np

from specalign.instruments.contract import CLAUSES
from specalign.instruments.rows import FRAMES
from specalign.io.products import MEDIA
from specalign.plugins import find_plugins
from specalign.testing.children import imported_by_listing
from specalign.testing.contract import fail, skip
from specalign.testing.instrument_kit.case import compare

__all__ = ["CHECKS"]

# A DOI, a bibcode of 19 characters, or an arXiv number.
_REFERENCE = re.compile(r"10\.\d{4,}/\S+|\b\d{4}[A-Za-z&.]{5}[\dA-Za-z.]{9}[A-Z]\b|arXiv:\s*\d{4}\.\d{4,5}", re.I)
# Clauses of the contract that a check of its own looks after.
_ELSEWHERE = ("name", "spectral_axis", "lsf_sigma", "version")


def name_is_stated(case, rng):
    """``name`` is a non-empty str, under which a distribution offers the instrument, if one does."""
    name = case.instrument.name
    if not (isinstance(name, str) and name):
        fail(f"name: expected a non-empty str, got {name!r}")
    offered = [plugin.name for plugin in _offers(case.instrument)]
    if offered and name not in offered:
        fail(f"name: expected {' or '.join(offered)}, as the entry point says, got {name!r}")


def grid_is_increasing(case, rng):
    """``spectral_axis`` has one dimension, two pixels or more, and finite, strictly increasing values."""
    values = np.asarray(u.Quantity(case.instrument.spectral_axis).value)
    if values.ndim != 1 or values.size < 2:
        fail(f"spectral_axis: expected one dimension of two pixels or more, got shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values) | np.append(False, ~(np.diff(values) > 0)))
    if wrong.size:
        fail(f"spectral_axis: expected finite, strictly increasing values, got {values[wrong[0]]} at pixel {wrong[0]}")


def unit_is_stated(case, rng):
    """``spectral_axis`` is a Quantity in Angstrom, or a bare number where it counts coefficients."""
    expected = u.AA if case.instrument.axis_kind == "wavelength" else u.dimensionless_unscaled
    unit = getattr(case.instrument.spectral_axis, "unit", None)
    if unit != expected:
        fail(f"spectral_axis: expected a Quantity in {expected or 'a bare number'!s}, got {unit!r}")


def medium_is_stated(case, rng):
    """Every product, and every spectrum of an example or a file, says whether its wavelengths are of air or vacuum."""
    _stated(case, "medium", MEDIA)


def frame_is_stated(case, rng):
    """Every product, and every spectrum of an example or a file, says in which frame its wavelengths are."""
    _stated(case, "frame", FRAMES)


def _stated(case, fact, allowed):
    if not case.instrument.products:
        fail(f"products: expected one or more, each with its {fact}, got none")
    for product in case.instrument.products:
        if getattr(product, fact, None) not in allowed:
            fail(f"product {product!r}: expected {fact} among {allowed}, got {getattr(product, fact, None)!r}")
    for origin, spectra in (("an example", _or_none(case, "examples")), ("a file", _or_none(case, "read"))):
        for spectrum in spectra:
            if spectrum.meta.get(fact) not in allowed:
                fail(f"{origin}: expected meta[{fact!r}] among {allowed}, got {spectrum.meta.get(fact)!r}")


def _or_none(case, name):
    try:
        return getattr(case, name)
    except unittest.SkipTest:
        return []


def products_are_documented(case, rng):
    """Every product names its instrument and the address of its data model."""
    for product in case.instrument.products:
        if product.instrument != case.instrument.name:
            got = f"expected the instrument {case.instrument.name!r}, got {product.instrument!r}"
            fail(f"product {product.name!r}: {got}")
        if not str(product.data_model).startswith(("http://", "https://", "doi:")):
            fail(f"product {product.name!r}: expected the address of its data model, got {product.data_model!r}")


def resolution_is_stated(case, rng):
    """``lsf_sigma`` is a positive length a pixel."""
    if case.instrument.axis_kind != "wavelength":
        skip("coefficients have no resolution")
    sigma = case.instrument.lsf_sigma
    if sigma is None or not getattr(sigma, "unit", u.one).is_equivalent(u.AA):
        fail(f"lsf_sigma: expected a Quantity of length, got {sigma!r}")
    if sigma.shape != case.instrument.spectral_axis.shape or not (np.isfinite(sigma) & (sigma > 0)).all():
        fail(f"lsf_sigma: expected positive values of shape {case.instrument.spectral_axis.shape}, got {sigma!r}")


def version_is_stated(case, rng):
    """``version`` is a non-empty str."""
    version = getattr(case.instrument, "version", None)
    if not (isinstance(version, str) and version.strip()):
        fail(f"version: expected a non-empty str such as '1', got {version!r}")


def citation_is_stated(case, rng):
    """``citation`` names a paper with a DOI, a bibcode or an arXiv number."""
    citation = getattr(case.instrument, "citation", None)
    if not (isinstance(citation, str) and _REFERENCE.search(citation)):
        fail(f"citation: expected a str with a DOI, a bibcode or an arXiv number, got {citation!r}")


def clauses_hold(case, rng):
    """Whatever else ``get_instrument`` asks of an instrument on first use: bits, products, record, verbs."""
    for clause, holds in CLAUSES:
        if not clause.startswith(_ELSEWHERE) and not holds(case.instrument):
            fail(f"the contract says: {clause}")


def options_make_it_again(case, rng):
    """The instrument, made again with its ``options``, has the same record and gives the same bits."""
    one = case.sound
    other = type(one)(**one.options)
    if other.record != one.record:
        fail(f"expected {one.record} of {type(one).__name__}(**options) again, got {other.record}")
    compare(case.prepared, other.prepare(case.examples), "the instrument, made again with its options")


def listing_imports_nothing(case, rng):
    """Listing the plugins imports no module of this one."""
    offers = _offers(case.instrument)
    if not offers:
        skip("no distribution that is installed offers it")
    if found := sorted({plugin.module for plugin in offers} & set(imported_by_listing())):
        fail(f"{', '.join(found)} was imported before anybody asked for the plugin")


def _offers(instrument):
    """Entry points that lead to the class of an instrument."""
    kind = type(instrument)
    return [plugin for plugin in find_plugins("instruments") if _leads_to(plugin, kind)]


def _leads_to(plugin, kind):
    """Only modules that are loaded already are looked at: nothing of others runs."""
    if plugin.module not in sys.modules:
        return False
    value = importlib.import_module(plugin.module)
    for part in filter(None, plugin.attribute.split(".")):
        value = getattr(value, part, None)
    return value is kind


CHECKS = (
    name_is_stated,
    grid_is_increasing,
    unit_is_stated,
    medium_is_stated,
    frame_is_stated,
    products_are_documented,
    resolution_is_stated,
    version_is_stated,
    citation_is_stated,
    clauses_hold,
    options_make_it_again,
    listing_imports_nothing,
)
