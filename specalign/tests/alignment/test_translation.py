"""Spectra as another instrument would see them: on linear stars, whose noise-free spectra are known."""

import functools

import numpy as np
import pytest
import torch

from specalign import Aligner, PreparedSpectra, get_encoder
from specalign.alignment import History, export_weights, get_objective, load_weights
from specalign.encoders import Encoder
from specalign.exceptions import GridMismatchError, SpecalignError
from specalign.tests.alignment.survey import PIXELS, observe, star_labels, stars

QUICK = {"max_epochs": 10, "batch_size": 32, "progress": False, "accelerator": "cpu"}
NAMES = ("apogee", "gaia_xp")


def pair(n, first=0, seed=0):
    return {name: observe(name, stars(n, first), seed=seed, correlated=name == "gaia_xp") for name in NAMES}


def perceptrons(embed_dim=16):
    options = {"embed_dim": embed_dim, "n_factors": 6, "width": 48, "depth": 1}
    return {name: get_encoder("mlp", n_pixels=PIXELS[name], **options) for name in NAMES}


@functools.cache
def trained(name="clip+both", max_epochs=15, **options):
    torch.set_num_threads(1)
    aligner = Aligner(perceptrons(), embed_dim=16, objective=get_objective(name, **options))
    aligner.fit(pair(600), **QUICK | {"max_epochs": max_epochs})
    return aligner


def noise_free(rows):
    lines = np.random.default_rng([7, rows.flux.shape[1]]).normal(size=(3, rows.flux.shape[1])) * 0.1
    return 1 + star_labels(rows.object_id) @ lines


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES)
def test_translations_are_near_the_truth_and_know_how_near(source, target):
    found = trained().translate(pair(200, first=1000, seed=5)[source], to=target)
    error = found.flux - noise_free(found)
    spread = noise_free(found).std(axis=0).mean()
    assert error.std() < 0.15 * spread
    assert 0.3 < (error**2 * found.ivar).mean() < 2  # calibrated on 60 stars; one that sees its own noise is beyond 2.5


@functools.cache
def three():
    """Instruments of which each lacks some of the stars: 100, 100 and none of 600."""
    torch.set_num_threads(1)
    seen = {"apogee": stars(500), "nirspec": stars(500, first=100), "gaia_xp": stars(600)}
    options = {"embed_dim": 16, "n_factors": 6, "width": 48, "depth": 1}
    encoders = {name: get_encoder("mlp", n_pixels=PIXELS[name], **options) for name in seen}
    aligner = Aligner(encoders, embed_dim=16, objective="clip+both")
    aligner.fit({name: observe(name, rows) for name, rows in seen.items()}, **QUICK)
    return aligner


@pytest.mark.parametrize("source", PIXELS)
@pytest.mark.parametrize("target", PIXELS)
def test_three_instruments_translate_every_way(source, target):
    found = three().translate(observe(source, stars(200, first=1000), seed=5), to=target)
    error = found.flux - noise_free(found)
    spread = noise_free(found).std(axis=0).mean()
    assert error.std() < 0.25 * spread
    assert 0.3 < (error**2 * found.ivar).mean() < 2


def test_the_shared_part_of_the_covariance_belongs_to_the_variance():
    found = trained().translate(pair(20, first=1000)["apogee"], to="gaia_xp")
    scale, basis = found.covariance_factor
    shared = scale**2 @ basis**2
    assert (shared <= 1.001 / found.ivar).all()
    assert (shared > 0.1 / found.ivar).any()


def test_translations_are_rows_of_the_other_instrument():
    rows, there = pair(5, first=1000)["apogee"], pair(5)["gaia_xp"]
    found = trained().translate(rows, to="gaia_xp")
    assert found.object_id.tolist() == rows.object_id.tolist()
    assert found.instrument == there.instrument
    assert (found.spectral_axis == there.spectral_axis).all()
    assert set(found.catalog["translated_from"]) == {"apogee"}
    assert found.to_spectrum(0).flux.shape == (PIXELS["gaia_xp"],)
    again = trained().embed(found)  # a translation is a spectrum that the aligner takes
    assert len(again) == 5


def test_what_lies_under_a_mask_does_not_matter():
    rows = pair(5, first=1000)["apogee"]
    before = trained().translate(rows, to="gaia_xp")
    rows.flux[rows.mask] = 1e6
    assert (trained().translate(rows, to="gaia_xp").flux == before.flux).all()
    one = trained().translate(rows[2:3], to="gaia_xp")
    np.testing.assert_allclose(one.flux[0], before.flux[2], rtol=1e-5)


def test_noise_makes_translations_uncertain():
    half, other = stars(300), stars(300, first=300)
    parts = {name: [observe(name, half), observe(name, other, noise=0.2)] for name in NAMES}
    aligner = Aligner(perceptrons(), embed_dim=16, objective="clip+predict")
    aligner.fit({name: PreparedSpectra.concatenate(rows) for name, rows in parts.items()}, **QUICK)
    quiet, noisy = (observe("apogee", stars(50, first=1000), noise=noise) for noise in (0.02, 0.2))
    precise, vague = (aligner.translate(rows, to="gaia_xp") for rows in (quiet, noisy))
    assert np.median(vague.ivar) < 0.3 * np.median(precise.ivar)


def test_saved_and_loaded_it_translates_as_before(tmp_path):
    for aligner in (trained(), trained("split", max_epochs=1, private=0.25)):
        aligner.save(tmp_path)
        loaded, rows = Aligner.load(tmp_path), pair(7, first=1000)
        assert loaded.space == aligner.space
        assert (
            loaded.translate(rows["apogee"], "gaia_xp").ivar == aligner.translate(rows["apogee"], "gaia_xp").ivar
        ).all()
        assert (loaded.embed(rows["apogee"]).vectors == aligner.embed(rows["apogee"]).vectors).all()


def test_a_published_folder_has_the_decoders(tmp_path):
    rows = pair(7, first=1000)
    export_weights(trained(), tmp_path, prepared=rows)
    assert {f"decoder-{name}.safetensors" for name in NAMES} < {path.name for path in tmp_path.iterdir()}
    before, after = (one.translate(rows["apogee"], to="gaia_xp") for one in (trained(), load_weights(tmp_path)))
    assert (after.flux == before.flux).all()


def test_private_dimensions_are_given_where_asked_for():
    aligner, rows = trained("split", max_epochs=1, private=0.25), pair(9, first=1000)["apogee"]
    shared, both = aligner.embed(rows), aligner.embed(rows, private=True)
    assert shared.vectors.shape == (9, 12)
    assert both.blocks == {"shared": (0, 12), "private": (12, 16)}
    np.testing.assert_allclose(both.vectors[:, :12] * 2**0.5, shared.vectors, atol=1e-6)
    with pytest.raises(GridMismatchError):
        shared.search(both)
    with pytest.raises(SpecalignError, match="no private dimensions"):
        trained().embed(rows, private=True)


def test_what_was_not_trained_is_named():
    rows, predicts, reconstructs = pair(3), trained("clip+predict", 1), trained("clip+reconstruct", 1)
    with pytest.raises(SpecalignError, match=r"no decoder from apogee to apogee .*'clip\+reconstruct'"):
        predicts.translate(rows["apogee"], to="apogee")
    with pytest.raises(SpecalignError, match=r"no decoder from apogee to gaia_xp .*'clip\+predict'"):
        reconstructs.translate(rows["apogee"], to="gaia_xp")
    with pytest.raises(ValueError, match="to: expected one of apogee, gaia_xp, got 'kepler'"):
        predicts.translate(rows["apogee"], to="kepler")
    assert "apogee to gaia_xp" in str(predicts._facts())


def test_each_term_is_in_the_history():
    history = trained().history
    for kind in ("train", "val"):
        total = sum(history.epochs[f"{kind}_{name}"] for name in ("contrast", "predict", "reconstruct"))
        np.testing.assert_allclose(total, history.epochs[f"{kind}_loss"], rtol=1e-5)
    assert history.epochs["val_predict"][-1] < history.epochs["val_predict"][0]
    assert History.from_dict(history.as_dict()).epochs.colnames == history.epochs.colnames


def test_other_encoders_have_decoders_too():
    encoders = {name: get_encoder("starnet", n_pixels=PIXELS[name], embed_dim=8) for name in NAMES}
    aligner = Aligner(encoders, embed_dim=8, objective="clip+both")
    history = aligner.fit(pair(100), **QUICK | {"max_epochs": 2})
    assert history.epochs["train_reconstruct"][-1] != 0
    assert aligner.translate(pair(3)["apogee"], to="gaia_xp").flux.shape == (3, PIXELS["gaia_xp"])


class Sums(Encoder):
    summarizes = True

    def __init__(self, n_pixels, embed_dim=16):
        super().__init__(n_pixels, embed_dim)


def test_reconstruction_needs_something_that_the_encoder_did_not_see():
    with pytest.raises(ValueError, match="noise: expected a number above 0"):
        Aligner(perceptrons(), embed_dim=16, objective="clip+both").fit(pair(20), noise=0, **QUICK)
    encoders = perceptrons() | {"apogee": Sums(PIXELS["apogee"])}
    with pytest.raises(ValueError, match="apogee: Sums summarizes spectra without factors"):
        Aligner(encoders, embed_dim=16, objective="clip+both").fit(pair(20), **QUICK)


def test_private_dimensions_leave_some_to_share():
    with pytest.raises(ValueError, match=r"a share of 0\.99 private dimensions and 0 means .* leave 0 of 16 to share"):
        Aligner(perceptrons(), embed_dim=16, objective=get_objective("split", private=0.99))


def test_without_validation_variances_stay_as_they_are():
    aligner = Aligner(perceptrons(), embed_dim=16, objective="clip+predict")
    aligner.fit(pair(60), **QUICK | {"max_epochs": 1}, validation=0)
    assert not any(bool(decoder.calibration.any()) for decoder in aligner._decoders.values())
