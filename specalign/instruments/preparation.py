"""The way from rows to `PreparedSpectra` that all instruments share.

In this order: bad pixels, windows and edges on the detector's own grid; velocity and resampling in one operation;
normalisation.  Nothing is convolved.
"""

import functools
import logging

import astropy.units as u
import numpy as np

from specalign.config import progress_bar
from specalign.display import Displayed
from specalign.exceptions import SpectrumError
from specalign.instruments.axes import flux_scale, preferred_unit
from specalign.instruments.continuum import Unchanged
from specalign.instruments.frames import plan_shift, window_factor
from specalign.instruments.masking import flag_pixels
from specalign.instruments.output import Output, assemble, count_reasons, join_covariance
from specalign.instruments.resampling import ResampledRows, in_blocks
from specalign.instruments.rows import Facts
from specalign.io.quality import COMMON_BITS, bit_value

__all__ = ["Preparation"]

log = logging.getLogger(__name__)


class Preparation(Displayed):
    """The steps of ``prepare``, with the grid and the rules of the instrument that they belong to.

    A plugin may override `convert`, `detector` and `regrid`; each works on a block of rows.

    Examples
    --------
    >>> from specalign import get_instrument
    >>> from specalign.instruments.preparation import Preparation
    >>> isinstance(get_instrument("apogee"), Preparation)
    True
    """

    def convert(self, rows):
        """Hook: rows of another kind (coefficients) to rows of samples."""
        if rows.axis_kind != self.axis_kind:
            raise SpectrumError(
                f"spectral_axis: {self.name} with options {self.options} takes a {self.axis_kind} axis, "
                f"got one of kind {rows.axis_kind}"
            )
        return rows

    def detector(self, rows, block, scale=1.0):
        """Float64 flux (times a scale), inverse variance and bits of a block of rows, flagged on their own grid."""
        shape = rows.flux[block].shape
        with np.errstate(all="ignore"):  # what is masked may be anything
            flux = np.multiply(rows.flux[block], scale, dtype=np.float64, order="C")
            ivar = 1.0 if rows.ivar is None else np.divide(rows.ivar[block], np.square(scale), dtype=np.float64)
        ivar = np.array(np.broadcast_to(ivar, shape), order="C")
        mask = np.zeros(shape, bool) if rows.mask is None else np.array(rows.mask[block], dtype=bool, order="C")
        quality = np.zeros(shape, np.uint32) if rows.quality is None else _bits(rows.quality[block])
        facts = rows.facts
        flag_pixels(
            flux,
            ivar,
            mask,
            quality,
            rules=self.rules,
            axis=rows.axis,
            breaks=rows.edges.breaks,
            factor=window_factor(facts.frame[block], facts.velocity[block]),
        )
        return flux, ivar, quality

    def regrid(self, rows, block, factor, scale=1.0):
        """A block of rows, shifted and on the instrument's grid (float64, not normalised)."""
        from specalign.instruments import _kernels

        flux, ivar, quality = self.detector(rows, block, scale)
        good = (quality & np.uint32(self.bad_bits)) == 0
        shape = (len(flux), self.n_pixels)
        out = ResampledRows(np.empty(shape), np.empty(shape), np.empty(shape, np.uint32))
        _kernels.resample(flux, ivar, good, quality, *rows.edges, *self.edges, factor, *out)
        if self.outside is not None:
            out.quality[:, self.outside] |= bit_value(COMMON_BITS, "EDGE")
        return out

    def _prepare_groups(self, groups, refused, n, progress=None):
        facts = _in_order([(g.index, g.facts) for g in groups] + [([i], one) for i, one, _ in refused], n)
        taken = ~np.isin(np.arange(n), [position for position, _, _ in refused])
        known = facts.frame, facts.velocity, facts.velocity_source
        shift = plan_shift(*known, resolved=self.velocity_resolved, taken=taken)
        for position, _, error in refused:
            shift.reason[position] = str(error)
        unit = preferred_unit(groups[0].unit) if groups else u.dimensionless_unscaled
        out = Output.empty(n, self.n_pixels, self.normalization.per_pixel)
        with progress_bar(progress=progress, total=n - len(refused), unit="spectrum", desc=self.name, delay=1) as bar:
            for rows in groups:
                self._fill(rows, shift, flux_scale(rows.unit, unit, rows.axis), out, bar)
        out.covariance = join_covariance(self, groups, shift, unit, out.norm)
        result = assemble(self, out, facts, shift, unit)
        log.info("%r: normalization %s; %s", result, self.normalization, count_reasons(result.rejected))
        return result

    def _fill(self, rows, shift, scale, out, bar=None):
        in_blocks(functools.partial(self._fill_block, rows, shift, scale, out), len(rows), bar=bar)

    def _fill_block(self, rows, shift, scale, out, block):
        from specalign.instruments import _kernels

        index = rows.index[block]
        flux, ivar, quality = self.regrid(rows, block, shift.factor[index], scale)
        good = (quality & np.uint32(self.bad_bits)) == 0
        norm = np.empty(flux.shape)
        rule = Unchanged() if rows.normalized else self.normalization
        rule.fill(flux, ivar, good, norm, quality)
        done = [np.empty(flux.shape, kind) for kind in (np.float32, np.float32, bool)]
        _kernels.finish(flux, ivar, norm, quality, np.uint32(self.bad_bits), rows.ivar is not None, *done)
        out.store(index, *done, quality, norm)


def _bits(quality):
    return np.array(quality, dtype=np.uint32, order="C")


def _in_order(members, n):
    """Facts in the order of the input."""
    index = np.concatenate([np.asarray(i, dtype=int) for i, _ in members]) if members else np.zeros(0, int)
    if len(index) != n:
        raise SpectrumError(f"expected {n} rows, got facts of {len(index)}")
    return Facts.concatenate([facts for _, facts in members])[np.argsort(index)]
