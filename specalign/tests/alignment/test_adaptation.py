"""Few spectra of another domain: what they teach an encoder, and what stays as it was."""

import copy

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import QTable

from specalign import Aligner, LabelModel, get_encoder
from specalign.alignment import AdaptationHistory, History, get_objective
from specalign.alignment.training import AdaptationSettings, add_updates, merge_updates
from specalign.exceptions import EmptySpectrumError, GridMismatchError, LabelError, MatchError, SpecalignError
from specalign.tests.alignment.survey import PIXELS, label_table, observe, stars

QUICK = {"progress": False, "accelerator": "cpu"}
METHODS = ["low_rank", "head", "full"]
HELD = stars(150, first=5000)


def encoder(name, plugin="mlp", **options):
    options = {"width": 32, "depth": 1} if plugin == "mlp" else options
    return get_encoder(plugin, n_pixels=PIXELS[name], embed_dim=8, **options)


def elsewhere(star_id, name="nirspec", **options):
    """Spectra of another domain: other line depths, another continuum, and five pixels more that are never seen."""
    rows, rng = observe(name, star_id, seed=3, **options), np.random.default_rng(8)
    depth, level = rng.normal(1, 0.4, PIXELS[name]), rng.normal(0, 0.05, PIXELS[name])
    rows.flux[:] = np.where(rows.mask, 0, 1 + (rows.flux - 1) * depth + level)
    rows.mask[:, :5], rows.ivar[:, :5] = True, 0
    return rows


def fitted(labels=None, n=60, encoders=None, objective="info_nce", **options):
    prepared = {name: observe(name, stars(n)) for name in ("apogee", "nirspec")}
    encoders = {name: encoder(name) for name in prepared} if encoders is None else encoders
    aligner = Aligner(encoders, embed_dim=8, objective=objective)
    aligner.fit(prepared, labels, **(QUICK | {"max_epochs": 1, "batch_size": 32, "learning_rate": 5e-3} | options))
    return aligner


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    return fitted(label_table(stars(300)), n=300, max_epochs=30)


@pytest.fixture(scope="module")
def few():
    return elsewhere(stars(12, first=1000))


@pytest.fixture(scope="module")
def many():
    return elsewhere(stars(100, first=1000))


@pytest.fixture(scope="module")
def adapted(trained, many):
    return trained.adapt(many, label_table(stars(100, first=1000)), method="low_rank", **QUICK)


def label_error(aligner):
    """Of held-out stars of the other domain, by a model that knows spectra of the other instrument alone."""
    known = aligner.embed(observe("apogee", stars(300)))
    found = LabelModel("knn").fit(known, label_table(stars(300))).predict(aligner.embed(elsewhere(HELD)))
    truth = label_table(HELD)
    spread = {"teff": 300 * u.K, "logg": 1 * u.dex, "fe_h": 0.3 * u.dex}
    errors = [((found[name] - truth[name]) / spread[name]).to_value(u.one) for name in spread]
    return float(np.sqrt(np.mean(np.square(errors))))


def partner_rank(aligner):
    """Share of held-out stars of the other domain whose nearest neighbour among the partner's is the star."""
    x, y = aligner.embed(elsewhere(HELD)), aligner.embed(observe("apogee", HELD))
    return float(np.mean(y.object_id[(x.vectors @ y.vectors.T).argmax(axis=1)] == x.object_id))


def test_labels_teach_the_other_domain(trained, adapted):
    assert label_error(adapted) < 0.96 * label_error(trained)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "share"), [("head", 0.98), ("full", 0.95)])
def test_every_method_learns(trained, many, method, share):
    new = trained.adapt(many, label_table(stars(100, first=1000)), method=method, **QUICK)
    assert label_error(new) < share * label_error(trained)


def test_partners_teach_the_other_domain_without_labels(trained, many):
    partners = {"apogee": observe("apogee", stars(200, first=1000))}
    new = trained.adapt(many, partners=partners, max_epochs=15, **QUICK)
    assert partner_rank(new) > partner_rank(trained) + 0.05
    assert label_error(new) < label_error(trained)


def test_twelve_spectra_do_no_harm(trained, few):
    new = trained.adapt(few, label_table(stars(12, first=1000)), max_epochs=60, **QUICK)
    assert label_error(new) < label_error(trained)


def test_everything_else_stays_bit_for_bit(trained, adapted):
    other, own = observe("apogee", HELD), elsewhere(HELD)
    np.testing.assert_array_equal(trained.embed(other).vectors, adapted.embed(other).vectors)
    assert not np.array_equal(trained.embed(own).vectors, adapted.embed(own).vectors)
    for part in ("_head", "_objective"):
        states = [getattr(aligner, part).state_dict() for aligner in (trained, adapted)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert adapted.space != trained.space
    with pytest.raises(SpecalignError, match="cannot be compared"):
        adapted.embed(own).search(trained.embed(other))


def test_the_given_aligner_stays_as_it_was(trained, few):
    space, vectors = trained.space, trained.embed(few).vectors
    weights = copy.deepcopy(trained.encoders["nirspec"].state_dict())
    flags = [p.requires_grad for p in trained.encoders["nirspec"].parameters()]
    new = trained.adapt(few, label_table(stars(12, first=1000)), max_epochs=3, **QUICK)
    assert trained.space == space
    assert trained.history.adaptations == []
    assert all(torch.equal(value, weights[key]) for key, value in trained.encoders["nirspec"].state_dict().items())
    np.testing.assert_array_equal(trained.embed(few).vectors, vectors)
    for aligner in (trained, new):
        assert [p.requires_grad for p in aligner.encoders["nirspec"].parameters()] == flags


@pytest.mark.parametrize("method", METHODS)
def test_no_step_changes_nothing(trained, few, method):
    """The changes begin with none, and the merged weights are those of the start."""
    labels = label_table(stars(12, first=1000))
    new = trained.adapt(few, labels, method=method, learning_rate=0.0, max_epochs=2, **QUICK)
    assert new.space == trained.space


@pytest.mark.parametrize("method", METHODS)
def test_only_what_the_method_says_changes(trained, few, method):
    new = trained.adapt(few, label_table(stars(12, first=1000)), method=method, max_epochs=5, **QUICK)
    before, after = (dict(aligner.encoders["nirspec"].named_parameters()) for aligner in (trained, new))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {name for name in before if name.startswith("blocks.0.0.") or name.startswith("head.0.")}
    expected = {"full": set(before), "head": {n for n in before if n.startswith("head.")}}
    assert changed == expected.get(method, set(before) - norms)
    if method == "low_rank":
        change = after["stem.weight"] - before["stem.weight"]
        assert int(torch.linalg.matrix_rank(change.detach(), rtol=1e-3)) == 4


def test_the_decay_leads_to_the_start(trained, few):
    start, sizes = trained.encoders["nirspec"].head[1].weight, []
    for decay in (0.0, 900.0):
        options = {"max_epochs": 25, "learning_rate": 1e-3, "weight_decay": decay, **QUICK}
        new = trained.adapt(few, label_table(stars(12, first=1000)), **options)
        sizes.append(float((new.encoders["nirspec"].head[1].weight - start).detach().norm()))
    far, near = sizes
    assert near < 0.3 * far


def test_everything_follows_from_the_seed(trained, few):
    labels = label_table(stars(12, first=1000))
    first, again, other = (trained.adapt(few, labels, max_epochs=3, seed=s, **QUICK).space for s in (1, 1, 2))
    assert first == again != other


def test_it_is_saved_as_an_ordinary_aligner(adapted, tmp_path):
    adapted.save(tmp_path / "adapted")
    loaded, own = Aligner.load(tmp_path / "adapted"), elsewhere(HELD)
    assert loaded.space == adapted.space
    np.testing.assert_array_equal(loaded.embed(own).vectors, adapted.embed(own).vectors)
    (entry,) = loaded.history.adaptations
    assert isinstance(entry, AdaptationHistory)
    assert entry.counts == adapted.history.adaptations[0].counts
    assert entry.counts["instrument"] == "nirspec"
    assert "nirspec by low_rank" in repr(loaded.history)
    assert "nirspec by low_rank" in loaded._repr_html_()


def test_one_adaptation_after_another_is_told(adapted, few):
    again = adapted.adapt(few, label_table(stars(12, first=1000)), method="head", max_epochs=1, **QUICK)
    assert [entry.counts["method"] for entry in again.history.adaptations] == ["low_rank", "head"]
    assert len(adapted.history.adaptations) == 1


def test_stars_are_held_out_where_there_are_enough(adapted, trained, few):
    assert adapted.history.adaptations[0].counts["validation"] == 0
    enough = stars(200, first=1000)
    new = trained.adapt(elsewhere(enough), label_table(enough), max_epochs=1, **QUICK)
    counts = new.history.adaptations[0].counts
    assert counts["training"] + counts["validation"] == counts["rows"] == 200
    assert 20 <= counts["validation"] <= 60
    small = trained.adapt(few, label_table(stars(12, first=1000)), validation=0.25, max_epochs=1, **QUICK)
    assert 0 < small.history.adaptations[0].counts["validation"] < 12
    settings = AdaptationSettings.for_stars(
        200, method="full", rank=1, max_epochs=None, batch_size=64, learning_rate=None, patience=None, weight_decay=0.0,
        noise=1.0, label_weight=0.5, averaging=0.9, seed=0,
    )  # fmt: skip
    assert settings.max_epochs * np.ceil(200 / settings.batch_size) >= 300


def test_unknown_labels_and_stars_are_left_out(trained, few):
    """Rows without a label change nothing, and units are those of the table."""
    labels = label_table(stars(8, first=1000))
    extra = QTable(labels, copy=True)
    extra["teff"] = extra["teff"].to(1e3 * u.K)
    masked = label_table(stars(12, first=1000))
    for name in ("teff", "logg", "fe_h"):
        masked[name][8:] = np.nan * masked[name].unit
    spaces = [trained.adapt(few, t, max_epochs=2, **QUICK) for t in (labels, extra, masked)]
    assert {aligner.history.adaptations[0].counts["training"] for aligner in spaces} == {8}
    vectors = [aligner.embed(few).vectors for aligner in spaces]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_one_label_and_one_spectrum_are_enough(trained, few):
    label = label_table(stars(1, first=1000))["object_id", "teff"]
    new = trained.adapt(few[:1], label, max_epochs=20, **QUICK)
    assert new.history.adaptations[0].counts["training"] == 1
    assert np.isfinite(new.embed(few).vectors).all()


def test_labels_and_partners_together(trained, few):
    partners = {"apogee": observe("apogee", stars(40, first=1000))}
    new = trained.adapt(few, label_table(stars(5, first=1000)), partners=partners, max_epochs=2, **QUICK)
    assert new.history.adaptations[0].counts["training"] == 12


def test_partners_of_another_catalogue_are_paired(few):
    aligner = fitted()
    theirs = observe("apogee", stars(12, first=1000))
    theirs.object_id[:] = [f"x{i}" for i in range(12)]
    pairs = QTable({"nirspec": stars(12, first=1000), "apogee": theirs.object_id})
    new = aligner.adapt(few, partners={"apogee": theirs}, pairs=pairs, max_epochs=1, **QUICK)
    assert new.history.adaptations[0].counts["training"] == 12


@pytest.mark.parametrize(
    ("plugin", "options"), [("starnet", {}), ("specformer", {"width": 16, "depth": 1, "heads": 2})]
)
@pytest.mark.parametrize("method", METHODS)
def test_other_encoders_adapt_where_they_have_such_a_part(plugin, options, method):
    start = encoder("nirspec", plugin, **options).eval()
    if (plugin, method) == ("starnet", "head"):
        with pytest.raises(ValueError, match=r"StarNet has no head.*use method='low_rank'"):
            add_updates(copy.deepcopy(start), method, 2, seed=0)
        return
    changed = add_updates(copy.deepcopy(start), method, 2, seed=0)
    trainable = [p for p in changed.parameters() if p.requires_grad]
    rows = torch.rand(4, PIXELS["nirspec"]), torch.ones(4, PIXELS["nirspec"]), torch.zeros(4, PIXELS["nirspec"]) > 0
    assert torch.equal(changed(*rows), start(*rows))
    changed(*rows).sum().backward()
    with torch.no_grad():
        for parameter in trainable:
            parameter.add_(0.1)
    expected = changed(*rows)
    np.testing.assert_allclose(merge_updates(changed, start)(*rows).detach(), expected.detach(), atol=1e-4)


def test_the_private_dimensions_of_a_split_are_not_compared(few):
    aligner = fitted(label_table(stars(60)), objective=get_objective("split", private=0.25))
    partners = {"apogee": observe("apogee", stars(12, first=1000))}
    new = aligner.adapt(few, label_table(stars(12, first=1000)), partners=partners, max_epochs=2, **QUICK)
    assert new.embed(few, private=True).vectors.shape == (12, 8)
    assert new.translate(few, to="apogee").flux.shape == (12, PIXELS["apogee"])


def nothing_known(n=12):
    table = label_table(stars(n, first=1000))["object_id", "teff"]
    return QTable({"object_id": table["object_id"], "teff": np.full(n, np.nan) * u.K})


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (nothing_known(), "none of the 12 stars has a known label .* begin with .'star-1000'"),
        (label_table(stars(5)), "none of the 12 stars is in the table"),
        (QTable({"object_id": ["star-1000"], "mg_fe": [0.1] * u.dex}), "trained with teff, logg, fe_h, .* know mg_fe"),
        (QTable({"object_id": ["star-1000"], "teff": [0.1] * u.AA}), "teff: expected K, got Angstrom"),
        (QTable({"object_id": ["star-1000"], "teff": [5000.0]}), "teff: expected K, got no unit"),
        (QTable({"teff": [5000.0] * u.K}), "expected a column object_id"),
    ],
)
def test_unusable_labels_are_named(trained, few, labels, match):
    with pytest.raises((LabelError, MatchError), match=match):
        trained.adapt(few, labels, **QUICK)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "lora"}, "method: expected one of low_rank, head, full, got 'lora'"),
        ({"rank": 0}, "rank: expected a positive integer, got 0"),
        ({"rank": 65, "method": "low_rank"}, "rank: expected at most 32, as the largest layer allows, got 65"),
        ({"max_epochs": 0}, "max_epochs: expected a positive integer, got 0"),
        ({"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
        ({"validation": 1.0}, "validation: expected a share"),
        ({"learning_rate": np.nan}, "learning_rate: expected a finite number"),
        ({"weight_decay": 1e3, "learning_rate": 1e-3}, "weight_decay: expected less than 1000"),
        ({"partners": {"nirspec": observe("nirspec", stars(3))}}, "partners: expected spectra of apogee by that name"),
        ({"partners": {"gaia_xp": observe("apogee", stars(3))}}, "got apogee as gaia_xp"),
    ],
)
def test_wrong_options_are_named(trained, few, options, match):
    with pytest.raises(ValueError, match=match):
        trained.adapt(few, label_table(stars(12, first=1000)), **(QUICK | options))


def test_spectra_that_nothing_is_said_of_are_refused(trained, few):
    with pytest.raises(ValueError, match=r"expected labels=\.\.\., partners=\.\.\., or both"):
        trained.adapt(few)
    with pytest.raises(MatchError, match="none of the 12 stars"):
        trained.adapt(few, partners={"apogee": observe("apogee", stars(5))}, **QUICK)
    with pytest.raises(MatchError, match="expected spectra of two stars at least, got one"):
        trained.adapt(few[:1], partners={"apogee": observe("apogee", stars(1, first=1000))}, **QUICK)
    with pytest.raises(MatchError, match="no star of 1 is left"):
        trained.adapt(few[:1], label_table(stars(1, first=1000)), validation=0.999999, **QUICK)


def test_wrong_spectra_are_refused(trained, few):
    labels = label_table(stars(12, first=1000))
    with pytest.raises(GridMismatchError, match="trained on apogee, nirspec, the spectra come from 'gaia_xp'"):
        trained.adapt(observe("gaia_xp", stars(12, first=1000)), labels, **QUICK)
    other = few[:]
    other.instrument = type(few.instrument)("nirspec", {"mode": "test"}, "f" * 64, "1")
    with pytest.raises(GridMismatchError, match="with grid ffffffffffff"):
        trained.adapt(other, labels, **QUICK)
    empty = elsewhere(stars(2, first=1000))
    empty.mask[1], empty.ivar[1] = True, 0
    with pytest.raises(EmptySpectrumError, match="no good pixel"):
        trained.adapt(empty, labels, **QUICK)
    with pytest.raises(SpecalignError, match="not trained: call fit"):
        Aligner(["apogee", "nirspec"]).adapt(few, labels)


def test_an_aligner_without_labels_asks_for_partners(few):
    aligner = fitted()
    with pytest.raises(LabelError, match=r"trained without labels.*partners="):
        aligner.adapt(few, label_table(stars(12, first=1000)))


def test_a_history_of_an_older_file_has_no_adaptations():
    values = History(counts={"stars": 3}).as_dict()
    assert "adaptations" not in values
    assert History.from_dict(values).adaptations == []
