"""XP coefficients to samples: against GaiaXPy itself, and the covariance that goes along."""

import builtins
import contextlib
import io
import os
import subprocess
import sys
import warnings

import astropy.units as u
import numpy as np
import pytest

from specalign.exceptions import EmptySpectrumError, MissingExtraError, SpectrumError
from specalign.instruments import gaia_xp, get_instrument
from specalign.instruments.gaia_xp import SAMPLED_UNIT, sample_variance, sampling_matrix


@pytest.fixture(scope="module")
def peer(shared):
    """GaiaXPy's own samples, from its own reading of the archive's file."""
    path = shared / "data" / "spectra" / "gaia_xp" / "XP_CONTINUOUS_RAW.csv"
    silence = io.StringIO()
    quiet = (warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence))
    with quiet[0], quiet[1], quiet[2], np.printoptions(), gaia_xp._figure_settings_kept():
        warnings.simplefilter("ignore")
        from gaiaxpy import calibrate

        table, _ = calibrate(path, save_file=False)
    return np.stack(table["flux"]), np.stack(table["flux_error"]), path


@pytest.mark.slow
def test_numpy_prints_and_figures_look_as_before_once_gaiaxpy_was_used():
    """In a process of its own, since importing GaiaXPy changes how numpy prints, and switches LaTeX on."""
    pytest.importorskip("pandas")
    code = (
        "import numpy as np; from specalign.instruments.gaia_xp import sampling_matrix\n"
        "before = np.get_printoptions(); sampling_matrix(); print(np.get_printoptions() == before)\n"
        "import sys; settings = sys.modules['matplotlib'].rcParams\n"
        "print('gaiaxpy.plotter.plotter' in sys.modules, settings['text.usetex'], settings['font.size'])"
    )
    environment = {**os.environ, "MATPLOTLIBRC": os.devnull}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["True", "True", "False", "10.0"]


def test_figure_settings_of_the_user_outlive_gaiaxpy():
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context({"font.size": 7.0}):
        with gaia_xp._figure_settings_kept():
            mpl.rcParams["text.usetex"] = True
        assert (mpl.rcParams["text.usetex"], mpl.rcParams["font.size"]) == (False, 7.0)


def test_samples_and_errors_are_those_of_gaiaxpy(peer):
    flux, error, path = peer
    xp = get_instrument("gaia_xp", normalization="none")
    spectra = xp.read(path)
    coefficients = np.stack([s.flux.value for s in spectra])
    samples = coefficients @ sampling_matrix()
    assert np.abs(samples - flux).max() / np.abs(flux).max() < 1e-12
    np.testing.assert_allclose(samples, flux, rtol=1e-11)
    for spectrum, expected in zip(spectra, error, strict=True):
        variance = sample_variance(
            spectrum.meta["coefficient_error"], sampling_matrix(), spectrum.meta["coefficient_correlation"]
        )
        np.testing.assert_allclose(np.sqrt(variance), expected, rtol=1e-6)
    prepared = xp.prepare(spectra)
    scale = SAMPLED_UNIT.to(prepared.flux_unit)
    np.testing.assert_allclose(prepared.flux, flux * scale, rtol=1e-6)
    np.testing.assert_allclose(prepared.ivar, (error * scale) ** -2, rtol=1e-5)


def test_pivot_is_the_flux_at_550_nm(peer):
    flux, error, path = peer
    prepared = get_instrument("gaia_xp").prepare(get_instrument("gaia_xp").read(path))
    pixel = 107
    assert get_instrument("gaia_xp").spectral_axis[pixel] == 5500 * u.AA
    np.testing.assert_array_equal(prepared.flux[:, pixel], 1)
    np.testing.assert_allclose(prepared.flux, flux / flux[:, [pixel]], rtol=1e-5)
    np.testing.assert_allclose(prepared.ivar, (flux[:, [pixel]] / error) ** 2, rtol=1e-5)


def test_covariance_factor_gives_the_variance_where_coefficients_are_independent():
    xp = get_instrument("gaia_xp")
    rng = np.random.default_rng(0)
    coefficients = rng.standard_normal((3, 110)) * 0.1
    coefficients[:, [0, 55]] = 100
    error = rng.uniform(0.1, 1, (3, 110))
    prepared = xp.prepare_arrays(
        coefficients, error**-2, spectral_axis=np.arange(110) * u.one, object_id=["a", "b", "c"]
    )
    scale, basis = (one.astype(float) for one in prepared.covariance_factor)
    variance = ((scale[:, :, None] * basis) ** 2).sum(axis=1)
    np.testing.assert_allclose(variance * prepared.ivar, 1, rtol=1e-4)
    samples = coefficients @ sampling_matrix()
    np.testing.assert_allclose(prepared.flux, samples / samples[:, [107]], rtol=1e-5)


def test_samples_and_coefficients_of_one_source_agree():
    coefficients = np.zeros((1, 110))
    coefficients[:, [0, 1, 55, 56]] = 100, 3, 80, 2
    axis = np.arange(110) * u.one
    sampled, raw = get_instrument("gaia_xp"), get_instrument("gaia_xp", form="coefficients")
    one = sampled.prepare_arrays(coefficients, np.ones((1, 110)), spectral_axis=axis, object_id=["a"])
    two = raw.prepare_arrays(coefficients, np.ones((1, 110)), spectral_axis=axis, object_id=["a"])
    np.testing.assert_allclose(one.norm, two.norm, rtol=1e-6)
    again = two.flux.astype(float) @ sampling_matrix() * SAMPLED_UNIT.to(one.flux_unit)
    np.testing.assert_allclose(again, one.flux, rtol=1e-5)


def test_a_source_without_a_band_is_rejected_with_its_reason():
    coefficients = np.full((2, 110), 100.0)
    quality = np.zeros((2, 110), int)
    quality[1, :55] = 1
    coefficients[1, :55] = np.nan
    for form in ("sampled", "coefficients"):
        xp = get_instrument("gaia_xp", form=form)
        prepared = xp.prepare_arrays(
            coefficients, np.ones((2, 110)), quality=quality, spectral_axis=np.arange(110) * u.one, object_id=["a", "b"]
        )
        assert prepared.object_id.tolist() == ["a"]
        assert "MISSING_BP 100 %" in prepared.rejected["reason"][0]


def test_real_source_without_bp(shared):
    xp = get_instrument("gaia_xp")
    spectra = xp.read(shared / "data" / "spectra" / "gaia_xp" / "XP_CONTINUOUS_RAW_with_missing_BP.csv")
    prepared = xp.prepare(spectra)
    assert (len(spectra), len(prepared), len(prepared.rejected)) == (3, 2, 1)
    missing = next(s for s in spectra if s.meta["object_id"] == prepared.rejected["object_id"][0])
    with pytest.raises(EmptySpectrumError, match="MISSING_BP"):
        xp.prepare(missing)


def test_coefficients_become_a_spectrum_again():
    xp = get_instrument("gaia_xp", form="coefficients")
    spectra = xp.make_example(1, 2)
    prepared = xp.prepare(spectra)
    again = xp.prepare(prepared.to_spectrum(1, absolute=True))
    np.testing.assert_allclose(again.flux, prepared.flux[1:], rtol=1e-5)
    resampled = xp.resample(spectra[1])
    assert resampled.spectral_axis.unit == u.pix
    np.testing.assert_array_equal(resampled.flux.value, spectra[1].flux.value)


def test_a_wrong_number_of_coefficients_is_refused():
    with pytest.raises(SpectrumError, match="expected 110 coefficients"):
        get_instrument("gaia_xp").prepare_arrays(np.ones((1, 55)), spectral_axis=np.arange(55) * u.one, object_id=["a"])


def test_samples_are_refused_where_coefficients_are_wanted():
    xp = get_instrument("gaia_xp", form="coefficients")
    with pytest.raises(SpectrumError, match="takes a coefficient axis"):
        xp.prepare_arrays(np.ones((1, 343)), spectral_axis=get_instrument("gaia_xp").spectral_axis, object_id=["a"])


def test_without_gaiaxpy_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("gaiaxpy"):
            raise ImportError("no module named gaiaxpy")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'specalign\[xp\]'"):
        gaia_xp.sampling_matrix.__wrapped__()


def test_the_matrix_is_made_in_silence(capfd):
    gaia_xp.sampling_matrix.__wrapped__()
    assert capfd.readouterr() == ("", "")
