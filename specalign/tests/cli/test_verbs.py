"""Each verb on a small mock survey: what it writes, prints and refuses."""

import json
import shutil

import numpy as np
import pytest
from astropy.table import QTable

from specalign import Aligner, EmbeddingTable, PreparedSpectra
from specalign.alignment import load_encoder
from specalign.cli import main
from specalign.plugins import Plugin


def run(*argv):
    return main([str(word) for word in argv])


def test_instruments(capsys):
    assert run("instruments", "apogee") == 0
    text = capsys.readouterr().out
    assert text.startswith("apogee: 8575 pixels, 15100.802 Angstrom to 16999.807 Angstrom")
    assert "  version 1; cite Majewski et al. 2017, AJ 154, 94" in text
    assert "  aspcapStar: rest frame, vacuum, normalised: continuum, R = 22500\n    https://data.sdss.org" in text


def test_instruments_does_not_run_the_code_of_others(monkeypatch, capsys):
    import specalign.plugins

    found = [*specalign.plugins.find_plugins("instruments"), Plugin("weave", "other", "must_not_be_imported", "Weave")]
    monkeypatch.setattr(specalign.plugins, "find_plugins", lambda kind: found)
    assert run("instruments") == 0
    text = capsys.readouterr().out
    assert "weave (other: must_not_be_imported:Weave)\n  not loaded; see: specalign instruments weave" in text
    assert all(f"{name}: " in text for name in ("apogee", "nirspec", "lamost", "gaia_xp"))


def test_inspect(survey, tmp_path, capsys):
    path = sorted((survey / "mock" / "apogee").iterdir())[0]
    assert run("inspect", path, "--output", tmp_path) == 0
    text = capsys.readouterr().out
    for fact in (
        "product       aspcapStar",
        "frame         rest",
        "medium        vacuum",
        "normalised    continuum",
        "(header VHELIO; already at rest, not applied)",
        "resolution    R = 22500",
        "quality       ",
        "prepared [0]: <PreparedSpectra apogee: 1 spectra",
    ):
        assert fact in text
    figure = tmp_path / f"{path.stem}-inspect.png"
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_inspect_refuses_a_row_that_is_not_there(survey, tmp_path, capsys):
    path = sorted((survey / "mock" / "apogee").iterdir())[0]
    assert run("inspect", path, "--row", 3, "--output", tmp_path) == 1
    assert "--row: expected 0 to 0, got 3" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_prepare_wrote_one_file_an_instrument(survey):
    names = sorted(path.name for path in (survey / "prepared").iterdir())
    assert names == ["apogee.fits", "nirspec.fits", "rejected.ecsv"]
    prepared = PreparedSpectra.read(survey / "prepared" / "apogee.fits")
    labels = QTable.read(survey / "mock" / "labels.ecsv")
    assert sorted(prepared.object_id) == sorted(labels["object_id"])


def test_prepare_counts_what_it_rejects(survey, tmp_path, capsys):
    files = sorted((survey / "mock" / "apogee").iterdir())
    folder = tmp_path / "files"
    folder.mkdir()
    for path in files[:3]:
        shutil.copy(path, folder)
    shutil.copy(files[0], folder / "copy-of-the-first.fits")
    (folder / "cut.fits").write_bytes(files[3].read_bytes()[:50000])
    (folder / "other.csv").write_text("a,b\n1,2\n")
    (folder / "photometry.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n")
    shutil.copy(survey / "mock" / "labels.ecsv", folder)
    assert run("prepare", folder, "--output", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "7 files: 3 spectra prepared, 4 files or spectra rejected" in text
    rejected = QTable.read(tmp_path / "out" / "rejected.ecsv")
    reasons = dict(zip(rejected["spectrum_id"], rejected["reason"], strict=True))
    assert len(reasons) == 4
    reasons.pop(str(folder / "photometry.ecsv"))
    assert "truncated or damaged" in reasons[str(folder / "cut.fits")]
    assert str(folder / "other.csv") in reasons
    assert "spectrum_id occurs twice: in " in next(
        iter(set(reasons.values()) - {reasons[str(folder / "cut.fits")], reasons[str(folder / "other.csv")]})
    )


def test_prepare_fails_only_where_nothing_is_left(survey, tmp_path, capsys):
    path = sorted((survey / "mock" / "apogee").iterdir())[0]
    (tmp_path / "cut.fits").write_bytes(path.read_bytes()[:50000])
    assert run("prepare", tmp_path / "*.fits", "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "1 files: 0 spectra prepared, 1 files or spectra rejected" in captured.out
    assert "none of the 1 files could be prepared" in captured.err


def test_prepare_with_options_of_the_instrument(survey, tmp_path):
    assert (
        run(
            "prepare",
            survey / "mock" / "nirspec",
            "--instrument",
            "nirspec",
            "--option",
            "grid=seeds",
            "--output",
            tmp_path,
        )
        == 0
    )
    assert PreparedSpectra.read(tmp_path / "nirspec.fits").flux.shape == (60, 8192)


def test_train_wrote_an_aligner(survey):
    aligner = Aligner.load(survey / "aligner")
    assert aligner.instruments == ("apogee", "nirspec")
    assert aligner.embed_dim == 16


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (
            ["--encoder", "lamost=mlp"],
            2,
            "--encoder: expected INSTRUMENT=NAME with one of apogee, nirspec, got 'lamost'",
        ),
        (["--encoder", "apogee=nothing"], 1, "no encoder plugin is called 'nothing'; installed: autoencoder, mlp, "),
        (["--objective", "triplet"], 1, "no objective plugin is called 'triplet'; installed: clip, "),
    ],
)
def test_train_refuses(survey, tmp_path, capsys, extra, code, message):
    argv = ["train", survey / "prepared", "--output", tmp_path / "aligner", "--max-epochs", 1, *extra]
    assert run(*argv) == code
    assert message in capsys.readouterr().err


def test_train_needs_two_instruments(survey, tmp_path, capsys):
    assert run("train", survey / "prepared" / "apogee.fits", "--output", tmp_path / "aligner") == 1
    assert "expected spectra of two instruments or more, got apogee" in capsys.readouterr().err


@pytest.mark.slow
def test_train_with_labels_another_encoder_and_another_objective(survey, tmp_path, capsys):
    assert run(
        "train", survey / "prepared", "--output", tmp_path / "aligner", "--max-epochs", 1, "--embed-dim", 8,
        "--encoder", "nirspec=mlp", "--objective", "sigmoid",
        "--labels", survey / "mock" / "labels.ecsv", "--system", "specalign-mock",
    ) == 0  # fmt: skip
    assert "next: specalign embed" in capsys.readouterr().out
    description = json.loads((tmp_path / "aligner" / "aligner.json").read_text())
    assert description["objective"]["name"] == "sigmoid"


def test_embed_wrote_a_table_an_instrument(survey):
    for name in ("apogee", "nirspec"):
        table = EmbeddingTable.read(survey / "embeddings" / f"{name}.fits")
        assert table.vectors.shape == (60, 12)  # 2 means and 2 variances have the others
        assert table.latent_mean.shape == (60, 2)
        assert set(table.instrument) == {name}
        assert table.space == Aligner.load(survey / "aligner").space


def test_embed_refuses_another_grid(survey, tmp_path, capsys):
    run(
        "prepare",
        survey / "mock" / "nirspec",
        "--instrument",
        "nirspec",
        "--option",
        "grid=seeds",
        "--output",
        tmp_path,
    )
    assert run("embed", tmp_path, "--aligner", survey / "aligner", "--output", tmp_path / "embeddings") == 1
    assert "this aligner was trained on" in capsys.readouterr().err


def test_search(survey, tmp_path, capsys):
    embeddings = survey / "embeddings"
    output = tmp_path / "neighbours.ecsv"
    argv = [embeddings / "nirspec.fits", "--gallery", embeddings / "apogee.fits", "-k", 3, "--output", output]
    assert run("search", *argv) == 0
    table = QTable.read(output)
    assert len(table) == 180
    assert set(table["neighbour_instrument"]) == {"apogee"}
    text = capsys.readouterr().out
    assert "recall@1" in text
    assert "... 160 more rows" in text


def test_search_by_likelihood(survey, tmp_path, capsys):
    folder, output = survey / "embeddings", tmp_path / "found.ecsv"
    argv = [folder / "nirspec.fits", "--gallery", folder / "apogee.fits", "--output", output]
    assert run("search", *argv) == 0
    assert "log_likelihood" in capsys.readouterr().out
    assert QTable.read(output).meta["similarity"] == "likelihood"
    assert run("search", *argv, "--similarity", "cosine") == 0
    assert "log_likelihood" not in capsys.readouterr().out
    table = EmbeddingTable.read(folder / "apogee.fits")
    table.latent_mean = table.latent_variance = None
    table.write(plain := tmp_path / "apogee.fits")
    assert run("search", folder / "nirspec.fits", "--gallery", plain, "--similarity", "likelihood") == 1
    assert "expected embeddings with latent_mean" in capsys.readouterr().err


def test_search_refuses_another_space(survey, tmp_path, capsys):
    table = EmbeddingTable.read(survey / "embeddings" / "nirspec.fits")
    table.provenance = {**table.provenance, "space": "another"}
    table.write(tmp_path / "other.fits")
    assert run("search", tmp_path / "other.fits", "--gallery", survey / "embeddings" / "apogee.fits") == 1
    assert "cannot be compared" in capsys.readouterr().err


def test_labels_leaves_the_queried_stars_out(survey, tmp_path, capsys):
    apogee = EmbeddingTable.read(survey / "embeddings" / "apogee.fits")
    nirspec = EmbeddingTable.read(survey / "embeddings" / "nirspec.fits")
    nirspec[:20].write(tmp_path / "queries.fits")
    argv = [tmp_path / "queries.fits", "--reference", survey / "embeddings" / "apogee.fits"]
    argv += ["--labels", survey / "mock" / "labels.ecsv", "--system", "specalign-mock"]
    assert run("labels", *argv, "--output", tmp_path / "labels.ecsv") == 0
    assert "rmse" in capsys.readouterr().out
    predicted = QTable.read(tmp_path / "labels.ecsv")
    assert predicted.meta["label_system"] == "specalign-mock"
    assert list(predicted["object_id"]) == list(nirspec.object_id[:20])
    assert np.isfinite(predicted["teff"].value).all()
    # the answer does not depend on whether the stars themselves were in the reference
    apogee[~np.isin(apogee.object_id, nirspec.object_id[:20])].write(tmp_path / "others.fits")
    argv[2] = tmp_path / "others.fits"
    assert run("labels", *argv, "--output", tmp_path / "again.ecsv") == 0
    assert (QTable.read(tmp_path / "again.ecsv")["teff"] == predicted["teff"]).all()


def test_labels_that_are_named(survey, tmp_path, capsys):
    argv = [survey / "embeddings" / "nirspec.fits", "--reference", survey / "embeddings" / "apogee.fits"]
    argv += ["--labels", survey / "mock" / "labels.ecsv", "--system", "specalign-mock"]
    queries = EmbeddingTable.read(argv[0])[:20]
    queries.write(tmp_path / "queries.fits")
    argv[0] = tmp_path / "queries.fits"
    assert run("labels", *argv, "--output", tmp_path / "l.ecsv", "--names", "radial_velocity", "a_v") == 0
    predicted = QTable.read(tmp_path / "l.ecsv")
    assert predicted.colnames[2:] == ["radial_velocity", "radial_velocity_err", "a_v", "a_v_err"]
    assert "radial_velocity km / s  20" in capsys.readouterr().out
    assert run("labels", *argv, "--names", "colour") == 2
    assert "--names: expected some of teff" in capsys.readouterr().err


def test_labels_says_when_nobody_is_left_to_learn_from(survey, capsys):
    embeddings = survey / "embeddings"
    argv = [embeddings / "nirspec.fits", "--reference", embeddings / "apogee.fits"]
    assert run("labels", *argv, "--labels", survey / "mock" / "labels.ecsv") == 1
    assert "every star of --reference is among the queries" in capsys.readouterr().err


def test_output_of_an_unknown_kind(survey, tmp_path, capsys):
    embeddings = survey / "embeddings"
    argv = [embeddings / "nirspec.fits", "--gallery", embeddings / "apogee.fits", "--output", tmp_path / "a.xlsx"]
    assert run("search", *argv) == 2
    assert "expected a name that ends in .ecsv" in capsys.readouterr().err


@pytest.mark.shared
def test_prepare_real_nirspec_files(shared, tmp_path, capsys):
    """Pipeline and PypeIt files, whose units differ, and files of other kinds in between: all are accounted for."""
    assert run("prepare", shared / "data" / "spectra" / "nirspec", "--output", tmp_path / "out") == 0
    rejected = QTable.read(tmp_path / "out" / "rejected.ecsv")
    prepared = {path.stem: PreparedSpectra.read(path) for path in (tmp_path / "out").glob("*.fits")}
    assert "nirspec-spec1d" in prepared
    assert prepared["nirspec-spec1d"].flux_unit == "electron"
    assert any("m71_labels.csv" in name for name in rejected["spectrum_id"])
    text = capsys.readouterr().out
    assert f"{sum(map(len, prepared.values()))} spectra prepared, {len(rejected)} files or spectra rejected" in text


@pytest.mark.shared
def test_inspect_prints_the_facts_of_a_spectrum_that_cannot_be_prepared(shared, tmp_path, capsys):
    path = shared / "data" / "spectra" / "bad" / "apStar-all-zero-flux.fits"
    assert run("inspect", path, "--output", tmp_path) == 1
    captured = capsys.readouterr()
    assert "product       apStar" in captured.out
    assert "0 of 8575 pixels are good" in captured.err


@pytest.fixture(scope="module")
def pretrained(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    options = ["--encoder", "autoencoder", "--option", "hidden=8", "bottleneck=4", "--embed-dim", 16]
    assert run("pretrain", survey / "prepared" / "apogee.fits", "--output", folder, "--max-epochs", 1, *options) == 0
    return folder


@pytest.mark.slow
def test_pretrain_wrote_an_encoder_that_train_begins_with(survey, pretrained, tmp_path, capsys):
    encoder = load_encoder(pretrained)
    assert (encoder.hidden, encoder.bottleneck, encoder.embed_dim, len(encoder.history.epochs)) == (8, 4, 16, 1)
    options = ["--encoder", f"apogee={pretrained}", "--freeze", "apogee", "--embed-dim", 16, "--max-epochs", 1]
    assert run("train", survey / "prepared", "--output", tmp_path / "aligner", *options) == 0
    trained = Aligner.load(tmp_path / "aligner").encoders["apogee"].state_dict()
    kept = {name: value for name, value in encoder.state_dict().items() if not name.startswith("head.")}
    assert all((trained[name] == value).all() for name, value in kept.items())
    assert any((trained[name] != value).any() for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--encoder", "mlp"], 2, "ResidualMLP does not reconstruct spectra"),
        (["--encoder", "nothing"], 1, "no encoder plugin is called 'nothing'"),
        (["--option", "hiden=3"], 2, "--option: expected some of chunks, depth, heads, hidden_share, "),
        (["--option", "heads=3"], 2, "heads: expected a divisor of the width 128, got 3"),
        (["--option", "heads"], 2, "--option: expected KEY=VALUE, got 'heads'"),
    ],
)
def test_pretrain_refuses(survey, tmp_path, capsys, extra, code, message):
    argv = ["pretrain", survey / "prepared" / "apogee.fits", "--output", tmp_path / "encoder", "--max-epochs", 1]
    assert run(*argv, *extra) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "encoder").exists()


def test_pretrain_takes_one_instrument(survey, capsys):
    assert run("pretrain", survey / "prepared") == 1
    assert "expected spectra of one instrument, got apogee, nirspec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--encoder", "apogee={}"], 2, "--embed-dim: expected 16 as "),
        (["--encoder", "nirspec={}", "--embed-dim", 16], 1, "the encoder of nirspec takes 8575 pixels"),
        (["--encoder", "apogee={}/none", "--embed-dim", 16], 1, "encoder.json: expected a file of a saved encoder"),
        (
            ["--freeze", "apogee"],
            2,
            "--freeze: expected instruments whose --encoder is a pre-trained one, got 'apogee'",
        ),
    ],
)
def test_train_refuses_encoders_that_do_not_fit(survey, pretrained, tmp_path, capsys, extra, code, message):
    extra = [str(word).format(pretrained) for word in extra]
    assert run("train", survey / "prepared", "--output", tmp_path / "aligner", "--max-epochs", 1, *extra) == code
    assert message in capsys.readouterr().err
