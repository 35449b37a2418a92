"""`specalign.predict` on files, spectra and prepared spectra, good and bad: in = out + rejected, in the given order."""

import shutil
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from specutils import Spectrum, SpectrumList

import specalign as sa
from specalign.exceptions import (
    CheckpointError,
    EmptySpectrumError,
    GridMismatchError,
    MockModelWarning,
    SpectrumError,
    VelocityWarning,
)
from specalign.prediction import LabelTransfer


def predict(spectra, model, **options):
    """Predictions of the model for tests, which says that it is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VelocityWarning)
        with pytest.warns(MockModelWarning, match="not for science: made for a test"):
            return sa.predict(spectra, model, **options)


def files(survey, rows):
    return [survey.paths["nirspec"][row] for row in rows]


def names(paths):
    return [f"9000004{path.name.split('_s')[1][:6]}" for path in paths]


def reasons(table):
    return {row["spectrum_id"]: row["reason"] for row in table.meta["rejected"]}


def test_files_give_labels_in_their_order(survey, model):
    paths = files(survey, [350, 301, 330])
    table = predict(paths, model)
    assert list(table["object_id"]) == names(paths)
    assert list(table["path"]) == [str(path) for path in paths]
    assert table["teff"].unit == u.K
    assert table["logg_err"].unit == u.dex
    assert (table["teff_err"] > 0).all()
    assert not table["in_reference"].any()
    assert set(table["nearest_object_id"]) <= set(survey.labels["object_id"][:300])
    assert table.meta["rejected"] == []
    assert table.meta["label_system"] == "specalign-mock"
    assert table.meta["space"] == survey.aligner.space
    assert table.meta["not_for_science"] is True
    assert set(table.meta["domain"]["nirspec"]["thresholds"]) > {"similarity", "residual"}


def test_a_star_of_the_reference_says_so(survey, model):
    table = predict(files(survey, [5, 310]), model)
    assert table["in_reference"].tolist() == [True, False]


def test_a_folder_a_pattern_a_list_and_spectra_agree(survey, model, tmp_path):
    folder = tmp_path / "x1d"
    folder.mkdir()
    for path in files(survey, range(300, 306)):
        shutil.copy(path, folder)
    paths = sorted(folder.iterdir())
    expected = predict(paths, model)
    spectra = [spectrum for path in paths for spectrum in sa.get_instrument("nirspec").read(path)]
    ways = (folder, str(folder), f"{folder}/*_x1d.fits", [folder], SpectrumList(spectra), spectra)
    for way in ways:
        table = predict(way, model)
        assert np.array_equal(table["teff"], expected["teff"])
        assert list(table["spectrum_id"]) == list(expected["spectrum_id"])


def test_the_batch_does_not_change_a_spectrum(survey, model):
    many, one = predict(files(survey, range(300, 310)), model), predict(files(survey, [304]), model)
    assert np.allclose(one["teff"].value, many["teff"][4].value, rtol=1e-5)
    assert one["in_domain"][0] == many["in_domain"][4]


def test_a_table_goes_to_a_file_and_back(survey, model, tmp_path):
    table = predict([*files(survey, [300]), survey.paths["gaia_xp"][0]], model)
    table.write(tmp_path / "labels.ecsv")
    again = QTable.read(tmp_path / "labels.ecsv")
    assert again.meta["not_for_science"] is True
    assert again.meta["rejected"] == table.meta["rejected"]
    assert again["logg"].unit == table["logg"].unit


def test_what_cannot_be_read_is_rejected_and_the_rest_goes_on(survey, model, tmp_path):
    good = files(survey, [300, 301])
    cut = tmp_path / "cut.fits"
    cut.write_bytes(good[0].read_bytes()[:40000])
    text = tmp_path / "notes.csv"
    text.write_text("a,b\n1,2\n")
    xp = survey.paths["gaia_xp"][0]
    table = predict([good[0], cut, xp, text, good[1], good[0]], model)
    assert list(table["object_id"]) == names(good)
    found = reasons(table)
    assert len(found) == 4
    assert "truncated or damaged" in found[str(cut)]
    assert "the nirspec reader reads x1d" in found[str(xp)]
    assert "not a FITS file" in found[str(text)]
    assert f"spectrum_id occurs twice: in {good[0]} and in {good[0]}" in found[str(table["spectrum_id"][0])]


def test_another_grating_is_rejected_with_what_it_is(survey, model, tmp_path):
    path = files(survey, [300])[0]
    other = tmp_path / "other.fits"
    other.write_bytes(path.read_bytes().replace(b"'G140H   '", b"'G140M   '", 1))
    assert other.read_bytes() != path.read_bytes()
    table = predict([path, other], model)
    assert len(table) == 1
    assert "expected g140h/f100lp" in reasons(table)[str(other)]
    assert "got g140m/f100lp" in reasons(table)[str(other)]


def test_spectra_without_facts_are_rejected_alone(survey, model):
    good = sa.get_instrument("nirspec").read(files(survey, [300])[0])[0]
    bare = Spectrum(flux=good.flux, spectral_axis=good.spectral_axis)
    nameless = Spectrum(flux=good.flux, spectral_axis=good.spectral_axis, meta={**good.meta, "object_id": None})
    nameless.meta["spectrum_id"] = "nameless"
    dead = Spectrum(flux=good.flux * 0, spectral_axis=good.spectral_axis, meta={**good.meta, "spectrum_id": "dead"})
    stranger = Spectrum(flux=good.flux, spectral_axis=good.spectral_axis, meta={**good.meta, "instrument": "weave"})
    table = predict([bare, good, nameless, dead, stranger], model)
    assert len(table) == 1
    assert len(table.meta["rejected"]) == 4
    found = " ".join(row["reason"] for row in table.meta["rejected"])
    for words in ("does not say its object_id", "pixels are good", "it says that it is of 'weave'"):
        assert words in found


def test_prepared_spectra_and_their_rejected_rows(survey, model):
    rows = survey.test["nirspec"][:5]
    rows.rejected = QTable({"spectrum_id": ["gone"], "object_id": ["star"], "reason": ["no pixels"]})
    table = predict(rows, model)
    assert list(table["spectrum_id"]) == list(rows.spectrum_id)
    assert table.meta["rejected"] == [{"spectrum_id": "gone", "object_id": "star", "reason": "no pixels"}]
    both = predict([rows, survey.test["nirspec"][3:8]], model)
    assert len(both) == 8
    assert len(both.meta["rejected"]) == 3


def test_files_of_prepared_spectra(survey, model, tmp_path):
    rows = survey.test["nirspec"][:3]
    rows.write(tmp_path / "nirspec.fits")
    survey.test["gaia_xp"][:3].write(tmp_path / "gaia_xp.fits")
    table = predict(tmp_path, model)
    assert list(table["spectrum_id"]) == list(rows.spectrum_id)
    assert "expected spectra prepared as nirspec with" in reasons(table)[str(tmp_path / "gaia_xp.fits")]


def test_a_model_of_two_instruments_takes_a_mixture(survey, model):
    parts = [survey.aligner.embed(rows) for rows in survey.training.values()]
    training = [rows[:60] for rows in survey.training.values()]
    both = LabelTransfer.build(
        survey.aligner, sa.EmbeddingTable.concatenate(parts), survey.labels, training, names=["teff"], science=False,
        note="made for a test",
    )  # fmt: skip
    table = predict([survey.paths["gaia_xp"][0], *files(survey, [300])], both)
    assert list(table["instrument"]) == ["gaia_xp"] * (len(table) - 1) + ["nirspec"]
    alone = predict(files(survey, [300]), both)
    assert np.allclose(alone["teff"][0].value, table["teff"][-1].value, rtol=1e-5)
    assert set(table.meta["domain"]) == {"nirspec", "gaia_xp"}


def test_when_nothing_is_left_the_reasons_are_told(survey, model):
    xp = survey.paths["gaia_xp"]
    with pytest.raises(EmptySpectrumError, match=f"none of the {len(xp)} files .* the nirspec reader reads x1d"):
        sa.predict(xp, model)
    with pytest.raises(EmptySpectrumError, match="expected at least one spectrum, got none"):
        sa.predict([], model)


def test_what_is_no_input_at_all(survey, model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.fits"):
        sa.predict([*files(survey, [300]), tmp_path / "nothing.fits"], model)
    with pytest.raises(SpectrumError, match="got ndarray"):
        sa.predict(np.ones(5), model)
    with pytest.raises(GridMismatchError, match="labels nirspec"):
        sa.predict(survey.test["gaia_xp"][:1], model)
    with pytest.raises(CheckpointError, match=r"model\.json: expected a file of a saved model"):
        sa.predict(files(survey, [300]), tmp_path)


def test_a_model_for_science_says_nothing(survey, model):
    science = LabelTransfer(
        model.aligner, model.reference, model.labels, model.domains, model.records, {**model.facts, "science": True}
    )
    table = sa.predict(survey.test["nirspec"][:2], science)
    assert table.meta["not_for_science"] is False


@pytest.mark.shared
def test_real_spectra_are_not_in_the_domain_of_a_mock_model(shared, model):
    """M71 giants of JWST programme 2609: they are read and labelled, and every one is flagged."""
    table = predict(f"{shared}/data/spectra/nirspec/spec1d*.fits", model)
    assert len(table) == 11
    assert len(table.meta["rejected"]) == 0
    assert not table["in_domain"].any()
    assert all("residual" in reason for reason in table["domain_reasons"])
