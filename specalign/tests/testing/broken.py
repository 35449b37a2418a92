"""The small instrument, broken in one way each; `BROKEN` says which checks must notice it, and no other may."""

import dataclasses

import astropy.units as u
import numpy as np
from astropy.io import fits

from specalign.exceptions import SpectrumError, UnknownProductError
from specalign.tests.testing import spectrograph
from specalign.tests.testing.spectrograph import Small

BROKEN = {}


def breaks(*checks):
    """A decorator that enters a class with the checks that it fails."""

    def enter(kind):
        BROKEN[kind.__name__] = (kind, set(checks))
        return kind

    return enter


class Altered(Small):
    """Prepares as `Small` does, and spoils what comes out of both roads."""

    def _prepare_groups(self, *arguments, **options):
        return self.alter(super()._prepare_groups(*arguments, **options))


# Facts


@breaks("name_is_stated", "products_are_documented")
class Nameless(Small):
    name = ""


@breaks("grid_is_increasing")
class GridWithARepeat(Small):
    def __init__(self, step=5e-5):
        super().__init__(step)
        values = self.spectral_axis.value.copy()
        values[700] = values[699]
        self.spectral_axis = values * u.AA


@breaks("unit_is_stated")
class GridInNanometre(Small):
    def __init__(self, step=5e-5):
        super().__init__(step)
        self.spectral_axis = self.spectral_axis.to(u.nm)


class Restating(Small):
    fact = None

    def read(self, path, visits="combined"):
        spectra = super().read(path, visits)
        for spectrum in spectra:
            spectrum.meta[self.fact] = None
        return spectra


@breaks("medium_is_stated", "reads_its_own_file")
class SilentAboutTheMedium(Restating):
    fact = "medium"


@breaks("frame_is_stated", "reads_its_own_file")
class SilentAboutTheFrame(Restating):
    fact = "frame"


@breaks("products_are_documented")
class Undocumented(Small):
    products = (dataclasses.replace(spectrograph.SINGLE, data_model="see the wiki"),)


@breaks("resolution_is_stated")
class WithoutResolution(Small):
    def __init__(self, step=5e-5):
        super().__init__(step)
        self.lsf_sigma = None


@breaks("version_is_stated")
class WithoutVersion(Small):
    version = ""


@breaks("citation_is_stated")
class WithoutCitation(Small):
    citation = "a paper in preparation"


@breaks("clauses_hold")
class NumberedRules(Small):
    mask_version = 1


@breaks("options_make_it_again")
class ForgetfulOfOptions(Small):
    def __init__(self, step=5e-5):
        super().__init__(step)
        self.options = {"step": 2 * step}


# Examples and files


@breaks("makes_examples")
class DeafToTheSeed(Small):
    def make_example(self, rng, n=4):
        return super().make_example(0, n)


@breaks("reads_its_own_file")
class WithoutMask(Small):
    def read(self, path, visits="combined"):
        spectra = super().read(path, visits)
        for spectrum in spectra:
            spectrum.mask = np.zeros(spectrum.flux.shape, bool)
        return spectra


@breaks("reads_its_own_file")
class TurnsMasksOfVisits(Small):
    """Right where visits are combined."""

    def read(self, path, visits="combined"):
        spectra = super().read(path, visits)
        for spectrum in spectra if visits == "all" else ():
            spectrum.mask = ~spectrum.mask
        return spectra


@breaks("reads_its_own_file")
class NotesWhatItRead(Small):
    def read(self, path, visits="combined"):
        spectra = super().read(path, visits)
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["SEEN"] = True
        return spectra


@breaks("files_of_others_are_refused")
class TakesOthers(Small):
    def read(self, path, visits="combined"):
        try:
            return super().read(path, visits)
        except UnknownProductError:
            if fits.getheader(path).get("TELESCOP") != "LAMOST":
                raise
            return self.make_example(0, 1)


@breaks("junk_is_refused")
class TrustsText(Small):
    def read(self, path, visits="combined"):
        if path.__class__ is not str and path.read_bytes()[:10] == b"wavelength":
            raise ValueError("could not convert string to float: 'wavelength'")
        return super().read(path, visits)


@breaks("damaged_files_raise_its_errors")
class TrustsColumns(Small):
    def read(self, path, visits="combined"):
        try:
            return super().read(path, visits)
        except OSError as error:
            if "IVAR" in str(error):
                raise KeyError("IVAR") from None
            raise


# Masks


@breaks("masked_pixels_never_matter")
class GrowsWhatIsMasked(Small):
    def prepare_arrays(self, flux, ivar=None, mask=None, **facts):
        if mask is not None:
            size = np.abs(np.nan_to_num(flux))
            mask = mask | np.roll(size > 1e6 * np.median(size, axis=1, keepdims=True), 1, axis=1)
        return super().prepare_arrays(flux, ivar, mask, **facts)


@breaks("outputs_are_finite")
class LetsNaNThrough(Small):
    def prepare_arrays(self, flux, ivar=None, mask=None, **facts):
        prepared = super().prepare_arrays(flux, ivar, mask, **facts)
        if mask is None and not np.isfinite(flux).all():
            prepared.flux[0, prepared.mask[0]] = np.nan
        return prepared


@breaks("ivar_zero_is_mask")
class WeighsBadPixels(Altered):
    def alter(self, prepared):
        prepared.ivar[prepared.mask] = 1e-20
        return prepared


@breaks("scale_of_flux_is_divided_out")
class KnowsOneUnit(Small):
    def prepare_arrays(self, flux, ivar=None, mask=None, **facts):
        with np.errstate(invalid="ignore"):
            faint = np.abs(flux) < 1e-10
        return super().prepare_arrays(flux, ivar, faint if mask is None else mask | faint, **facts)


@breaks("rows_in_are_rows_out_and_rejected")
class LosesRows(Altered):
    def alter(self, prepared):
        prepared.rejected = prepared.rejected[:0]
        return prepared


@breaks("rows_in_are_rows_out_and_rejected")
class StopsAtABadSpectrum(Small):
    def prepare(self, spectra, **facts):
        prepared = super().prepare(spectra, **facts)
        if len(prepared) and len(prepared.rejected):
            raise SpectrumError("a spectrum cannot be used")
        return prepared


# Files and processes


@breaks("file_gives_the_same_arrays")
class UnitOfItsOwn(Altered):
    def alter(self, prepared):
        prepared.flux_unit = u.def_unit("small_counts")
        return prepared


@breaks("spawned_process_gives_the_same_arrays")
class HoldsAFunction(Small):
    def __init__(self, step=5e-5):
        super().__init__(step)
        self.rule = lambda flux: flux
