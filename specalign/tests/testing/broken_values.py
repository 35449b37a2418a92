"""The small instrument, broken in what it does with axes, velocities and rows; entered in `BROKEN`, too."""

import copy
import dataclasses
import random

import astropy.units as u
import numpy as np
from astropy.nddata import InverseVariance

from specalign.instruments.resampling import PixelEdges, doppler_factor
from specalign.tests.testing.broken import BROKEN, Altered, breaks
from specalign.tests.testing.spectrograph import Small

__all__ = ["BROKEN"]


def own_grid(instrument, rows):
    """Whether rows are on the grid already, but for the rounding of a unit."""
    grid = instrument.spectral_axis.value
    return rows.axis.shape == grid.shape and np.allclose(rows.axis, grid, rtol=1e-10)


class ElsewhereWrong(Small):
    """Spoils what it resamples, but not what is on its own grid already."""

    def regrid(self, rows, block, factor, scale=1.0):
        out = super().regrid(rows, block, factor, scale)
        if not own_grid(self, rows):
            self.alter(out)
        return out


# Axes and resampling


@breaks("direction_of_the_axis_is_free")
class TurnsHalfOfIt(Small):
    def prepare_arrays(self, flux, ivar=None, mask=None, *, spectral_axis, **facts):
        if mask is not None and spectral_axis[0] > spectral_axis[-1]:
            mask = mask[:, ::-1]
        return super().prepare_arrays(flux, ivar, mask, spectral_axis=spectral_axis, **facts)


@breaks("unit_of_the_axis_is_free")
class TakesAllForAngstrom(Small):
    def prepare_arrays(self, flux, ivar=None, mask=None, *, spectral_axis, **facts):
        return super().prepare_arrays(flux, ivar, mask, spectral_axis=spectral_axis.value * u.AA, **facts)


@breaks("type_of_the_arrays_is_free")
class TakesBytesAsTheyAre(Small):
    def prepare_arrays(self, flux, *arrays, **facts):
        return super().prepare_arrays(np.asarray(flux).view(np.asarray(flux).dtype.newbyteorder("=")), *arrays, **facts)


@breaks("kind_of_uncertainty_is_free")
class TakesErrorsForWeights(Small):
    def prepare(self, spectra, **facts):
        spectra = [copy.copy(spectrum) for spectrum in spectra] if isinstance(spectra, list) else spectra
        for spectrum in spectra if isinstance(spectra, list) else ():
            if spectrum.uncertainty is not None:
                spectrum.uncertainty = InverseVariance(spectrum.uncertainty.array)
        return super().prepare(spectra, **facts)


@breaks("own_grid_is_the_identity")
class HalvesItsWeights(Small):
    def regrid(self, rows, block, factor, scale=1.0):
        out = super().regrid(rows, block, factor, scale)
        if own_grid(self, rows):
            out.ivar[:] *= 0.5
        return out


@breaks("constants_stay_constant")
class Ripples(ElsewhereWrong):
    def alter(self, out):
        out.flux[:] *= 1 + 2e-4 * (-1) ** np.arange(self.n_pixels)


@breaks("integrals_are_conserved")
class ClipsPeaks(ElsewhereWrong):
    def alter(self, out):
        np.minimum(out.flux, 1.9 * np.median(out.flux, axis=1, keepdims=True), out=out.flux)


@breaks("uncovered_pixels_are_masked")
class BridgesHoles(Small):
    """Pixels reach to the middle between them and their neighbours, however far these are."""

    def regrid(self, rows, block, factor, scale=1.0):
        (lower, upper), middle = rows.edges, (rows.axis[1:] + rows.axis[:-1]) / 2
        edges = PixelEdges(np.append(lower[0], middle), np.append(middle, upper[-1]))
        rows = copy.copy(rows)
        rows.edges = edges
        return super().regrid(rows, block, factor, scale)


@breaks("variance_is_that_of_the_noise")
class InterpolatesWeights(ElsewhereWrong):
    def alter(self, out):
        out.ivar[:] *= 1.5


# Velocities and air


@breaks("velocity_is_applied_once")
class ShiftsTwice(Small):
    def regrid(self, rows, block, factor, scale=1.0):
        return super().regrid(rows, block, factor**2, scale)


@breaks("rest_spectra_are_not_shifted")
class ObeysEveryHeader(Small):
    def regrid(self, rows, block, factor, scale=1.0):
        stated = doppler_factor(np.nan_to_num(rows.facts.velocity[block]))
        return super().regrid(rows, block, stated, scale)


@breaks("air_becomes_vacuum", "velocity_is_applied_once")
class BreathesNoAir(Small):
    def prepare_arrays(self, *arrays, medium="vacuum", **facts):
        return super().prepare_arrays(*arrays, medium="vacuum", **facts)


# Rows


class BrightestOfTheBatch:
    """Divides all rows by the brightest pixel of any."""

    per_pixel = False

    def fill(self, flux, ivar, good, norm, quality):
        norm[:] = flux[good].max(initial=1e-30)


@breaks("batch_equals_loop")
class ComparesRows(Small):
    def __init__(self, step=5e-5):
        super().__init__(step)
        self.normalization = BrightestOfTheBatch()


@breaks("batch_equals_loop")
class SecondBlockIsShifted(Small):
    """As where blocks of rows share memory that one of them has not done with."""

    def regrid(self, rows, block, factor, scale=1.0):
        return super().regrid(rows, block, factor * (1 + 1e-5 * bool(block.start)), scale)


@breaks("batch_equals_loop")
class OneVelocityForAll(Small):
    def prepare(self, spectra, **facts):
        velocity = spectra[0].meta.get("radial_velocity") if isinstance(spectra, list) and len(spectra) > 1 else None
        return super().prepare(spectra, **(facts if velocity is None else facts | {"radial_velocity": velocity}))


@breaks("order_of_rows_is_free")
class SortsRows(Altered):
    def alter(self, prepared):
        return dataclasses.replace(prepared[np.argsort(prepared.object_id)], rejected=prepared.rejected)


@breaks("one_row_and_none_are_sizes")
class NeedsARow(Small):
    def prepare_arrays(self, flux, *arrays, **facts):
        if flux[0].ndim != 1:
            raise ValueError("expected rows")
        return super().prepare_arrays(flux, *arrays, **facts)


@breaks("inputs_are_untouched")
class WritesIntoItsInput(Small):
    def prepare_arrays(self, flux, ivar=None, mask=None, **facts):
        if mask is not None:
            flux[mask] = 0
        return super().prepare_arrays(flux, ivar, mask, **facts)


@breaks("result_is_always_the_same")
class DrawsFromTheGlobalNumbers(Altered):
    def alter(self, prepared):
        np.random.random()  # noqa: NPY002
        return prepared


@breaks("result_is_always_the_same")
class ReadsWithGlobalNumbers(Small):
    def read(self, path, visits="combined"):
        random.random()
        return super().read(path, visits)


@breaks("bits_are_kept")
class MasksWithoutABit(Altered):
    def alter(self, prepared):
        prepared.mask[:, 600], prepared.ivar[:, 600], prepared.flux[:, 600] = True, 0, 0
        return prepared


@breaks("bits_are_kept")
class KeepsOneBit(Small):
    def prepare_arrays(self, *arrays, quality=None, **facts):
        quality = None if quality is None else np.where(np.asarray(quality) == 3, 2, quality)
        return super().prepare_arrays(*arrays, quality=quality, **facts)


@breaks("bits_are_kept")
class TakesTheNearestBits(Small):
    """Of all input pixels in a pixel of the grid."""

    def regrid(self, rows, block, factor, scale=1.0):
        out = super().regrid(rows, block, factor, scale)
        if rows.quality is not None and not own_grid(self, rows):
            nearest = np.searchsorted((rows.axis[1:] + rows.axis[:-1]) / 2, self.spectral_axis.value)
            out.quality[:] &= ~np.uint32(2) | rows.quality[block][:, nearest].astype(np.uint32)
        return out


@breaks("bits_are_kept")
class ForgetsBits(Small):
    def prepare_arrays(self, *arrays, quality=None, **facts):
        return super().prepare_arrays(*arrays, **facts)


@breaks("bits_are_kept")
class ForgetsBitsElsewhere(ElsewhereWrong):
    def alter(self, out):
        out.quality[:] &= ~np.uint32(3)
