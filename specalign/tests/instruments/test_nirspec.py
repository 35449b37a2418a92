"""Dispersers and filters of NIRSpec: grids, resolution, and spectra of another setting."""

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import SpectrumError, VelocityWarning
from specalign.instruments import get_instrument
from specalign.instruments.nirspec import DISPERSION, SETTINGS, resolving_power
from specalign.tests.instruments.conftest import make_rows, make_spectrum
from specalign.tests.io import synthetic

# Trained aligners carry these digests: a grid that changes makes them useless.
DIGESTS = {
    ("g140h", "f070lp"): "9b932dd8e155d76d",
    ("g140h", "f100lp"): "b4bd115196d9d6a0",
    ("g235h", "f170lp"): "0373da41a6f83cdb",
    ("g395h", "f290lp"): "5a27ba2b0e2def6a",
    ("g140m", "f070lp"): "a09abfbf8794571a",
    ("g140m", "f100lp"): "d06ed0d836630371",
    ("g235m", "f170lp"): "d67010ca5f35a752",
    ("g395m", "f290lp"): "d855b16ba65d2e08",
    ("prism", "clear"): "15d12ffc7d70dc20",
}
# Three values of the column R of each table jwst_nirspec_*_disp.fits, and the wavelengths (micron) where they stand.
TABLED = {
    "g140h": ((1.0, 1.4, 1.8), (1896.5, 2701.7, 3582.8)),
    "g140m": ((1.0, 1.4, 1.8), (712.5, 999.6, 1289.5)),
    "g235h": ((1.8, 2.4, 3.0), (2039.1, 2764.5, 3554.1)),
    "g235m": ((1.8, 2.4, 3.0), (764.8, 1021.8, 1281.1)),
    "g395h": ((3.0, 4.0, 5.0), (2020.8, 2738.6, 3517.0)),
    "g395m": ((3.0, 4.0, 5.0), (758.1, 1012.8, 1269.7)),
    "prism": ((0.7, 1.2, 5.0), (48.9, 30.1, 285.8)),
}


def of(setting, **options):
    return get_instrument("nirspec", disperser=setting[0], filter=setting[1], **options)


@pytest.mark.parametrize("setting", SETTINGS)
def test_grids_are_those_that_trained_aligners_carry(setting):
    assert of(setting).grid_digest.startswith(DIGESTS[setting])
    assert of(setting).options == {
        "disperser": setting[0], "filter": setting[1], "grid": "native", "normalization": "continuum",
    }  # fmt: skip


def test_the_default_is_as_it_was():
    nirspec = get_instrument("nirspec")
    assert nirspec.grid_digest == "b4bd115196d9d6a04baccfd1206f04b2f1d039c5743b818d4458efa9b14b466d"
    np.testing.assert_array_equal(nirspec.lsf_sigma, nirspec.spectral_axis / 2700 / 2.3548)
    assert nirspec.record == of(("G140H", "F100LP"), resolution="nominal").record
    assert nirspec.record != of(("g140h", "f100lp"), resolution="prelaunch").record


@pytest.mark.parametrize("disperser", DISPERSION)
def test_resolving_power_is_that_of_the_published_tables(disperser):
    wavelength, expected = TABLED[disperser]
    np.testing.assert_allclose(resolving_power(disperser, wavelength * u.um), expected, rtol=5e-3)


@pytest.mark.parametrize("setting", SETTINGS)
def test_resolution_rises_along_a_grating_as_the_paper_says(setting):
    """Jakobsen et al. (2022): prism, M and H gratings reach 30-330, 500-1340 and 1320-3600 (our G140H goes further)."""
    nirspec = of(setting, resolution="prelaunch")
    power = nirspec.spectral_axis / (2.3548 * nirspec.lsf_sigma)
    lower, upper = {"m": (490, 1340), "h": (1320, 3810)}.get(setting[0][-1] if setting[0] != "prism" else "", (30, 330))
    assert lower < power.min() < power.max() < upper
    assert setting[0] == "prism" or (np.diff(power) > 0).all()


@pytest.mark.parametrize("setting", SETTINGS)
def test_pixels_of_the_detector_are_as_wide_as_the_dispersion(setting):
    nirspec = of(setting, grid="detector")
    axis = nirspec.spectral_axis.value
    middle = (axis[1:] + axis[:-1]) / 2
    np.testing.assert_allclose(np.diff(axis), np.interp(middle, *DISPERSION[setting[0]]), rtol=5e-3)
    lower, upper, _ = SETTINGS[setting]
    assert axis[0] == lower
    assert upper - np.diff(axis)[-1] <= axis[-1] <= upper
    assert of(setting, **{k: v for k, v in nirspec.options.items() if k not in ("disperser", "filter")}).record == (
        nirspec.record
    )


def test_a_row_goes_through_the_detector_grid_of_the_prism():
    prism = of(("prism", "clear"), grid="detector")
    flux, ivar, mask = make_rows(prism)
    prepared = prism.prepare_arrays(flux, ivar, mask, spectral_axis=prism.spectral_axis, object_id=list("abcd"))
    assert len(prepared) == 4
    assert prepared.flux.shape == (4, 403)
    inside = slice(prism.edge_pixels, -prism.edge_pixels)
    np.testing.assert_array_equal(prepared.mask[:, inside], mask[:, inside])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": "high"}, "resolution: expected 'prelaunch' or 'nominal', got 'high'"),
        ({"disperser": "prism"}, "expected one of g140h/f070lp, .* got prism/f100lp"),
        ({"grid": "seeds", "disperser": "prism", "filter": "clear"}, "grid: expected 'native', 'detector', or 'seeds'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(SpectrumError, match=message):
        get_instrument("nirspec", **options)


def test_an_unknown_disperser_has_no_resolving_power():
    with pytest.raises(SpectrumError, match=r"disperser: expected one of g140h, .* got 'g140'"):
        resolving_power("g140", 1.5 * u.um)


def test_a_file_of_another_disperser_is_refused_with_the_options_that_read_it(tmp_path):
    path = tmp_path / "a.fits"
    synthetic.msaexp(path, header={"GRATING": "G140M"})
    message = (
        r"a.fits: expected g140h/f100lp, .* got g140m/f100lp; "
        r"use get_instrument\('nirspec', disperser='g140m', filter='f100lp'\)$"
    )
    with pytest.raises(SpectrumError, match=message):
        get_instrument("nirspec").read(path)
    assert len(of(("g140m", "f100lp")).read(path)) == 1


def test_a_setting_that_nobody_uses_is_not_offered(tmp_path):
    synthetic.x1d(tmp_path / "a.fits", header={"GRATING": "MIRROR", "FILTER": "F110W"})
    with pytest.raises(
        SpectrumError, match=r"got mirror/f110w; .*not one of the settings that are there: g140h/f070lp"
    ):
        get_instrument("nirspec").read(tmp_path / "a.fits")


def test_a_spectrum_of_another_disperser_is_refused_alone_and_rejected_in_a_list():
    nirspec = get_instrument("nirspec")
    wrong = make_spectrum(nirspec, seed=1, disperser="g140m", filter="f100lp")
    others = [make_spectrum(nirspec, seed=2, disperser="G140H", filter="F100LP"), make_spectrum(nirspec, seed=3)]
    for verb in (nirspec.prepare, nirspec.mask, nirspec.resample):
        with pytest.raises(SpectrumError, match=r"object 'star': expected g140h/f100lp, .* disperser='g140m'"):
            verb(wrong)
    prepared = nirspec.prepare([wrong, *others])
    assert prepared.spectrum_id.tolist() == ["row-2", "row-3"]
    assert prepared.rejected["spectrum_id"].tolist() == ["row-1"]
    assert "disperser='g140m', filter='f100lp'" in prepared.rejected["reason"][0]


def test_a_header_that_names_the_filter_alone_is_enough():
    nirspec = get_instrument("nirspec")
    with pytest.raises(SpectrumError, match=r"expected g140h/f100lp, .* got f070lp; .*filter='f070lp'\)"):
        nirspec.prepare(make_spectrum(nirspec, filter="f070lp"))


def test_real_files_are_prepared_by_their_own_setting_and_refused_by_the_default(shared):
    folder = shared / "data" / "spectra" / "nirspec"
    names = {
        "calib_prism-clear_iras-05248-7007_s200a1.v1.spec.fits.gz": ("prism", "clear"),
        "jw02736-o007_s06355_nirspec_f290lp-g395m_x1d.fits": ("g395m", "f290lp"),
        "calib_g140h-f100lp_iras-05248-7007_s200a1.v1.spec.fits.gz": ("g140h", "f100lp"),
    }
    for name, setting in names.items():
        nirspec = of(setting, grid="detector")
        with pytest.warns(VelocityWarning, match="barycentric"):
            prepared = nirspec.prepare(nirspec.read(folder / name))
        assert len(prepared) == 1
        assert (~prepared.mask).mean() > 0.7
        if setting != ("g140h", "f100lp"):
            with pytest.raises(SpectrumError, match=f"got {'/'.join(setting)}; use get_instrument"):
                get_instrument("nirspec").read(folder / name)


def test_no_row_gives_no_row():
    prism = of(("prism", "clear"))
    empty = prism.prepare_arrays(np.zeros((0, prism.n_pixels)), spectral_axis=prism.spectral_axis, object_id=[])
    assert empty.flux.shape == (0, prism.n_pixels)
    assert len(empty.rejected) == 0
