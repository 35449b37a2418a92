"""Bad pixels: what they hold never matters, and what comes out says where they are."""

import numpy as np

from specalign.testing.contract import fail
from specalign.testing.instrument_kit.case import as_spectrum, close, compare, names

__all__ = ["CHECKS"]

_RUBBISH = (np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0)
_WEIGHTS = (np.nan, np.inf, -1.0, 0.0, 1e30, 1e-30)
_BAD = 0.04  # share of pixels that are masked
_SCALES = (7.3, 1e-16, 1e9)


def masked_pixels_never_matter(case, rng):
    """Flux and inverse variance under the mask, whatever they are, change no bit of the output."""
    flux, ivar = case.draw(rng, 4)
    mask = _mask(case, rng, flux.shape)
    expected = case.prepare(flux, ivar, mask)
    for rubbish, weight in zip(_RUBBISH, _WEIGHTS, strict=True):
        other = case.prepare(np.where(mask, rubbish, flux), np.where(mask, weight, ivar), mask)
        compare(expected, other, f"arrays with {rubbish} as flux and {weight} as ivar under the mask")
    _masked_spectra(case, flux, ivar, mask)


def _masked_spectra(case, flux, ivar, mask):
    axis = case.input_axis
    for rubbish, weight in ((np.nan, np.nan), (1e30, -1.0)):
        inputs = (flux, ivar), (np.where(mask, rubbish, flux), np.where(mask, weight, ivar))
        one, other = (
            case.instrument.prepare([as_spectrum(axis, f, w, m, object_id=str(i)) for i, (f, w, m) in rows])
            for rows in (enumerate(zip(*pair, mask, strict=True)) for pair in inputs)
        )
        compare(one, other, f"spectra with {rubbish} as flux and {weight} as ivar under the mask")


def _mask(case, rng, shape):
    """Single bad pixels and runs of them; the last row has none, so that a pivot does not cost all rows."""
    start = rng.random(shape) < _BAD / 2
    mask = start | np.roll(start, 1, axis=1)
    mask[-1] = False
    return mask


def outputs_are_finite(case, rng):
    """NaN and infinity that nobody masked go in, and finite numbers come out."""
    flux, ivar = case.draw(rng, 4)
    for array in (flux, ivar):
        places = rng.random(array.shape) < 0.01
        places[-1] = False
        array[places] = rng.choice([np.nan, np.inf, -np.inf], np.count_nonzero(places))
    for prepared in (case.prepare(flux, ivar), case.prepare(flux), case.prepared):
        for name in ("flux", "ivar", "norm"):
            bad = np.argwhere(~np.isfinite(getattr(prepared, name)))
            if len(bad):
                row, pixel = bad[0]
                got = getattr(prepared, name)[row, pixel]
                fail(f"{name}: expected finite numbers, got {got} in row {row}, pixel {pixel}")


def ivar_zero_is_mask(case, rng):
    """A pixel has inverse variance 0 where it is masked and nowhere else; in the input, 0 means masked too."""
    flux, ivar = case.draw(rng, 4)
    empty = _mask(case, rng, flux.shape)
    weights = np.where(empty, rng.choice([0.0, -1.0, np.nan], empty.shape), ivar)
    by_ivar, by_mask = case.prepare(flux, weights), case.prepare(flux, ivar, empty)
    for what, prepared in (("ivar 0", by_ivar), ("a mask", by_mask), ("the examples", case.prepared)):
        if (prepared.ivar < 0).any() or not np.array_equal(prepared.ivar == 0, prepared.mask):
            row, pixel = np.argwhere((prepared.ivar == 0) != prepared.mask)[0] if (prepared.ivar >= 0).all() else (0, 0)
            got = f"ivar {prepared.ivar[row, pixel]} with mask {prepared.mask[row, pixel]} in row {row}, pixel {pixel}"
            fail(f"{what}: expected ivar 0 exactly where the mask is True, got {got}")
    compare(by_ivar, by_mask, "ivar 0 and the mask, as ways to say that a pixel is bad", ("flux", "ivar", "mask"))


def scale_of_flux_is_divided_out(case, rng):
    """Flux times k and inverse variance over k squared: so does what comes out, or it stays where it is normalised."""
    flux, ivar = case.draw(rng, 3)
    expected = case.prepare(flux, ivar)
    left = case.prepare(flux, ivar, normalized=True)
    for k in _SCALES:
        scaled = case.prepare(flux * k, ivar / k**2)
        close(_absolute(expected, k), _absolute(scaled), f"flux times {k:g}, normalisation undone", ("flux", "ivar"))
        if not np.array_equal(expected.norm, np.ones_like(expected.norm)):
            close(expected, scaled, f"flux times {k:g}, normalised", ("flux", "ivar"))
        as_given = case.prepare(flux * k, ivar / k**2, normalized=True)
        close(_absolute(left, k), _absolute(as_given), f"flux times {k:g}, left as it is", ("flux", "ivar"))


class _Absolute:
    """Flux and inverse variance of good pixels with the normalisation undone."""

    def __init__(self, prepared, k):
        good, norm = ~prepared.mask, k * prepared.norm.astype(float)
        self.flux, self.ivar = np.where(good, prepared.flux * norm, 0), np.where(good, prepared.ivar / norm**2, 0)


def _absolute(prepared, k=1.0):
    return _Absolute(prepared, k)


def rows_in_are_rows_out_and_rejected(case, rng):
    """Every row comes out or is in ``rejected`` with its reason, once, and the order is kept."""
    flux, ivar = case.draw(rng, 6)
    mask = np.zeros(flux.shape, bool)
    flux[1], mask[3], ivar[4] = np.nan, True, 0
    given = names(6)
    for prepared in (case.prepare(flux, ivar, mask), case.prepare(flux[[1, 3]], ivar[[1, 3]], mask[[1, 3]])):
        n = 6 if len(prepared) else 2
        expected = given if n == 6 else given[:2]
        out, rejected = prepared.object_id.tolist(), [str(name) for name in prepared.rejected["object_id"]]
        if sorted(out + rejected) != expected or out != sorted(out):
            fail(f"expected each of {expected} once, in order, got {out} and rejected {rejected}")
        if not all(str(reason).strip() for reason in prepared.rejected["reason"]):
            fail(f"rejected: expected a reason for each of {rejected}, got {list(prepared.rejected['reason'])}")
    rows = zip(given, flux, ivar, mask, strict=True)
    spectra = [as_spectrum(case.input_axis, f, w, m, object_id=name) for name, f, w, m in rows]
    for what, prepared in (("arrays", case.prepare(flux, ivar, mask)), ("a list", case.instrument.prepare(spectra))):
        kept, lost = prepared.object_id.tolist(), [str(name) for name in prepared.rejected["object_id"]]
        if kept != [given[i] for i in (0, 2, 5)] or sorted(lost) != [given[i] for i in (1, 3, 4)]:
            fail(f"{what}: expected the rows star-0, star-2 and star-5, which have good pixels, got {kept}")


CHECKS = (
    masked_pixels_never_matter,
    outputs_are_finite,
    ivar_zero_is_mask,
    scale_of_flux_is_divided_out,
    rows_in_are_rows_out_and_rejected,
)
