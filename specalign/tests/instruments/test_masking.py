"""Rules that make a pixel bad, and the bits that say why."""

import astropy.units as u
import numpy as np
import pytest

from specalign.instruments import get_instrument
from specalign.instruments.masking import MaskRules, Window, flag_pixels
from specalign.instruments.resampling import doppler_factor, pixel_edges
from specalign.io.quality import COMMON_BITS, decode
from specalign.tests.instruments.conftest import make_rows

BITS = {"DEAD": 0, "WARM": 1}


def flagged(flux=None, ivar=None, mask=None, quality=None, factor=1.0, **rules):
    """Names of the bits of each of ten pixels, at 100, 101, ... Angstrom."""
    shape = (1, 10)
    arrays = [
        np.array(np.broadcast_to(default if given is None else given, shape), kind)
        for given, default, kind in (
            (flux, 1.0, float),
            (ivar, 1.0, float),
            (mask, False, bool),
            (quality, 0, np.uint32),
        )
    ]
    axis = np.arange(100.0, 110.0)
    flag_pixels(
        *arrays,
        rules=MaskRules.from_names(BITS, ("DEAD",), **rules),
        axis=axis,
        breaks=pixel_edges(axis).breaks,
        factor=np.array([factor]),
    )
    return [decode(value, {**BITS, **COMMON_BITS}) for value in arrays[3][0]]


def test_each_reason_has_its_bit():
    flux, ivar, mask = np.ones(10), np.ones(10), np.zeros(10, bool)
    flux[:3] = np.nan, np.inf, -np.inf
    ivar[3:7] = 0, -1, np.nan, np.inf
    mask[7] = True
    found = flagged(flux, ivar, mask)
    assert found == [["NONFINITE"]] * 3 + [["NO_IVAR"]] * 4 + [["MASKED"], [], []]


def test_a_bad_pixel_is_not_looked_at_again():
    quality = np.zeros(10, int)
    quality[0] = 1
    quality[1] = 2
    found = flagged(np.nan, 0.0, [True] * 5 + [False] * 5, quality)
    assert found[0] == ["DEAD"]
    assert found[1] == ["WARM", "MASKED"]
    assert found[2] == ["MASKED"]
    assert found[5] == ["NONFINITE"]


def test_zero_is_missing_where_the_survey_says_so():
    flux = np.arange(10.0)
    assert flagged(flux) == [[]] * 10
    assert flagged(flux, zero_is_missing=True) == [["MASKED"]] + [[]] * 9


def test_edges_of_the_axis_and_of_long_runs_are_flagged():
    assert [i for i, names in enumerate(flagged(edge_pixels=2)) if "EDGE" in names] == [0, 1, 8, 9]
    mask = [False] * 4 + [True] * 3 + [False] * 3
    found = flagged(mask=mask, edge_pixels=1, edge_run=3)
    assert [i for i, names in enumerate(found) if "EDGE" in names] == [0, 3, 7, 9]
    found = flagged(mask=mask, edge_pixels=1, edge_run=4)
    assert [i for i, names in enumerate(found) if "EDGE" in names] == [0, 9]


def test_windows_lie_in_the_observed_frame():
    window = (Window(103.0, 105.0, "band"),)
    assert [i for i, names in enumerate(flagged(windows=window)) if names] == [3, 4, 5]
    assert [i for i, names in enumerate(flagged(windows=window, factor=1.01)) if names] == [2, 3]


def test_window_stays_on_the_earth_when_the_star_moves():
    lamost = get_instrument("lamost")
    flux, ivar, _ = make_rows(lamost, 1)
    lost = {}
    for velocity in (0.0, 200.0):
        facts = {"object_id": ["s"], "radial_velocity": velocity * u.km / u.s}
        barycentric = lamost.prepare_arrays(
            flux, ivar, spectral_axis=lamost.spectral_axis * doppler_factor(velocity), frame="barycentric", **facts
        )
        rest = lamost.prepare_arrays(flux, ivar, spectral_axis=lamost.spectral_axis, frame="rest", **facts)
        np.testing.assert_array_equal(rest.mask, barycentric.mask)
        np.testing.assert_allclose(rest.flux, barycentric.flux, rtol=1e-5)
        lost[velocity] = lamost.spectral_axis.value[rest.mask[0]]
    telluric = [one[(one > 7500) & (one < 7800)].mean() for one in lost.values()]
    assert telluric[0] / telluric[1] == pytest.approx(doppler_factor(200.0), rel=1e-4)


def test_partial_is_information():
    assert not MaskRules.from_names({}, ()).bad_bits >> COMMON_BITS["PARTIAL"] & 1
