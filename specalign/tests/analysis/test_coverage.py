"""Coverage, gaps and reasons of prepared spectra."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from specalign import PreparedSpectra, get_instrument
from specalign.analysis.coverage import NO_BIT, describe_spectra
from specalign.instruments.prepared import InstrumentRecord, grid_digest

BITS = {"SATURATED": 0, "DEAD": 3, "WARNING": 5}


def make(mask, quality, axis=None):
    n, p = mask.shape
    axis = (np.linspace(5000, 6000, p) if axis is None else axis) * u.AA
    names = np.array([f"s{i}" for i in range(n)])
    record = InstrumentRecord("test", {}, grid_digest(axis), "1")
    catalog, ones = QTable({"frame": np.full(n, "rest")}), np.ones((n, p))
    quality = quality.astype(np.uint32)
    return PreparedSpectra(ones, ~mask, mask, quality, ones, names, names, axis, record, catalog, BITS)


@pytest.fixture
def prepared():
    mask, quality = np.zeros((4, 101), dtype=bool), np.zeros((4, 101))
    mask[:, :12], quality[:, :12] = True, 1
    mask[:3, 40:60], quality[:3, 40:60] = True, 8 + 32
    mask[0, 40:45], quality[0, 40:45] = True, 1
    mask[3, 80:95] = True  # in one spectrum only, and without a reason
    quality[:, 70] = 32
    return make(mask, quality)


def test_gaps_and_their_reasons(prepared):
    study = describe_spectra(prepared)
    assert study.gaps["place"].tolist() == ["edge", "gap"]
    assert study.gaps["begin"].value.tolist() == [5000, 5400]
    assert study.gaps["end"].value.tolist() == [5110, 5590]
    assert study.gaps["pixels"].tolist() == [12, 20]
    assert study.gaps["reasons"].tolist() == ["SATURATED 100 %", "DEAD 92 %, WARNING 92 %, SATURATED 8 %"]
    assert study.good_coverage.value.tolist() == [5120, 6000]
    assert study.coverage.value.tolist() == [5000, 6000]
    assert study.step[0] == 10 * u.AA


def test_every_masked_pixel_has_a_reason_or_is_counted_without(prepared):
    study = describe_spectra(prepared)
    reasons = {row["bit"]: (row["n_masked"], row["n_good"]) for row in study.reasons}
    assert reasons == {"SATURATED": (53, 0), "DEAD": (55, 0), "WARNING": (55, 4), NO_BIT: (15, 0)}
    assert study.good_fraction == pytest.approx(1 - prepared.mask.mean())
    share = study.reasons["share"][study.reasons["bit"] == "DEAD"][0]
    assert share == pytest.approx(55 / prepared.mask.sum())


def test_the_share_decides_what_is_a_gap(prepared):
    assert len(describe_spectra(prepared, share=0.25).gaps) == 3
    assert len(describe_spectra(prepared, share=1).gaps) == 1
    with pytest.raises(ValueError, match="share: expected a number above 0 and at most 1, got 0"):
        describe_spectra(prepared, share=0)


def test_blocks_of_rows_change_nothing(prepared, monkeypatch):
    whole = repr(describe_spectra(prepared))
    monkeypatch.setattr("specalign.analysis.coverage._BLOCK", 3)
    assert repr(describe_spectra(prepared)) == whole
    assert repr(describe_spectra(prepared[::-1])) == whole


def test_a_break_of_the_grid_is_a_gap_without_pixels():
    axis = np.concatenate([np.linspace(4950, 5350, 41), np.linspace(6300, 6800, 51)])
    study = describe_spectra(make(np.zeros((1, 92), dtype=bool), np.zeros((1, 92)), axis))
    assert study.gaps["place"].tolist() == ["grid"]
    assert (study.gaps["begin"][0], study.gaps["end"][0]) == (5350 * u.AA, 6300 * u.AA)
    assert study.step.value.tolist() == pytest.approx([10, 10])


def test_nothing_good_and_nothing_at_all():
    all_bad = describe_spectra(make(np.ones((2, 30), dtype=bool), np.zeros((2, 30))))
    assert np.isnan(all_bad.good_coverage.value).all()
    assert all_bad.gaps["pixels"].tolist() == [30]
    assert "nowhere" in repr(all_bad)
    nothing = describe_spectra(make(np.zeros((0, 30), dtype=bool), np.zeros((0, 30))))
    assert (nothing.n_spectra, nothing.n_pixels, len(nothing.reasons)) == (0, 30, 0)
    assert "SpectraSummary" in nothing._repr_html_()


def test_coefficients_are_described_by_their_number():
    xp = get_instrument("gaia_xp", form="coefficients")
    flux = np.full((2, 110), 1.0)
    axis = xp.spectral_axis
    names = np.array(["a", "b"])
    record = InstrumentRecord("gaia_xp", {}, grid_digest(axis), "1")
    zero = np.zeros(flux.shape, dtype=np.uint32)
    prepared = PreparedSpectra(
        flux, flux, zero > 0, zero, flux, names, names, axis, record, QTable({"frame": names}), BITS
    )
    study = describe_spectra(prepared)
    assert study.n_pixels == 110
    assert len(study.gaps) == 0


@pytest.mark.shared
def test_the_chip_gaps_of_real_apogee_spectra(shared):
    """The gaps that users of APOGEE see: 15799.5 to 15867.3 and 16424.0 to 16483.8, and our five pixels of edges."""
    apogee = get_instrument("apogee")
    path = shared / "data" / "spectra" / "apogee" / "aspcapStar-r6-l30e.2-2M00452143+1634446.fits"
    study = describe_spectra(apogee.prepare(apogee.read(path)), min_pixels=100)
    inner = study.gaps[study.gaps["place"] == "gap"]
    assert study.n_pixels == 8575
    assert np.allclose(inner["begin"].value, [15799.5, 16424.0], atol=4)
    assert np.allclose(inner["end"].value, [15867.3, 16483.8], atol=4)
    assert all("UNCOVERED" in reason for reason in inner["reasons"])
