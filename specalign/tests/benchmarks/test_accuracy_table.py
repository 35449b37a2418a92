"""The accuracy study's table and page say what is stored, and that a row is missing where it is."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("teff", "logg", "fe_h")
WAYS = ("lamost -> gaia_xp", "gaia_xp -> lamost")


def labels_of(rmse, r2=0.99):
    return {name: {"rmse": rmse, "bias": 0.0, "r2": r2} for name in NAMES}


def pair(recall, rmse, seconds=60.0):
    """A result of LAMOST and Gaia XP as a row stores it, with a bound of 0.5 for every label."""
    retrieval = {way: {"recall@1": recall, "recall@10": 0.9, "mrr": 0.6} for way in WAYS}
    space = {
        "fit_seconds": seconds,
        "epochs": 3,
        "retrieval": retrieval,
        "labels": {name: {p: labels_of(rmse) for p in ("mlp", "linear", "knn")} for name in ("lamost", "gaia_xp")},
        "zero-shot": {way: labels_of(rmse) for way in WAYS},
    }
    return {
        "bound": {name: dict.fromkeys(NAMES, 0.5) for name in ("lamost", "gaia_xp")},
        "oracle": dict.fromkeys(WAYS, 0.73),
        "raw-flux cosine": {way: {"recall@1": 0.01} for way in WAYS},
        "with labels": space,
        "contrast": space,
    }


@pytest.fixture
def lines(program):
    """A function that gives the table's lines of stored rows, by the figure's title."""
    figures, table = program("accuracy_figures"), program("accuracy_table")
    return lambda stored: {line["figure"]: line for line in table.assemble(figures.FIGURES, stored)}


def test_a_figure_is_met_only_where_every_seed_and_label_meets_it(lines):
    found = lines({"lamost-gaia_xp-given": {1: pair(0.55, 0.6), 2: pair(0.51, 0.6)}})
    recall = found["recall@1 LAMOST to Gaia XP"]
    assert (recall["limit"], recall["reached"], recall["verdict"]) == ("0.73", "seed 1: 0.55; seed 2: 0.51", "met")
    assert found["label RMSE over bound, LAMOST"]["verdict"] == "met"
    found = lines({"lamost-gaia_xp-given": {1: pair(0.55, 0.6), 2: pair(0.47, 0.7)}})
    assert found["recall@1 LAMOST to Gaia XP"]["verdict"] == "missed by 0.03"
    assert found["label RMSE over bound, LAMOST"]["verdict"] == "missed by 0.15"
    assert "seed 2: Teff 1.40, log g 1.40, [Fe/H] 1.40" in found["label RMSE over bound, LAMOST"]["reached"]


def test_limits_of_spectra_that_were_normalised_anew_are_their_own(lines):
    found = lines({"lamost-gaia_xp": {1: pair(0.55, 0.6)}})
    recall, labels = "recall@1 LAMOST to Gaia XP, normalised anew", "label RMSE over bound, LAMOST, normalised anew"
    assert [(found[name]["limit"], found[name]["verdict"]) for name in (recall, labels)] == [("", "met")] * 2
    bound = {name: dict(zip(NAMES, (0.5, 0.6, 0.75), strict=True)) for name in ("lamost", "gaia_xp")}
    limits = {"bound": bound, "oracle": dict.fromkeys(WAYS, 0.57)}
    found = lines({"lamost-gaia_xp": {1: pair(0.55, 0.6)}, "limits-anew": {1: limits, 2: {}}})
    assert found[recall]["limit"] == "0.57"
    assert found[labels]["limit"] == "Teff 1.00, log g 1.20, [Fe/H] 1.50"
    assert found["label RMSE over bound, LAMOST"]["limit"] == "1 (posterior mean 0.8-0.95)"


def test_labels_that_are_counted_stand_beside_as_many_as_their_bounds_allow(lines):
    errors = {"teff": 60.0, "logg": 0.09, "fe_h": 0.05, "mg_fe": 0.09, "ce_fe": 0.11}
    bound = {"teff": 40.0, "logg": 0.08, "fe_h": 0.04, "mg_fe": 0.08, "ce_fe": 0.105}
    space = {"labels": {"nirspec": {"mlp": {label: {"rmse": error} for label, error in errors.items()}}}}
    row = {"bound": {"nirspec": bound, "apogee": bound}, "with labels": space}
    row["with labels"]["labels"]["apogee"] = space["labels"]["nirspec"]
    line = lines({"mock20": {1: row}})["NIRSpec, 20 labels: labels within 50 K, 0.1, 0.05 and 0.1 dex"]
    assert (line["limit"], line["reached"], line["verdict"]) == ("4", "seed 1: 3", "missed by 17")


def test_zero_shot_labels_stand_beside_the_bound_over_the_network(program):
    figures, table = program("accuracy_figures"), program("accuracy_table")
    zero_shot = {"contrast": {"zero-shot": {"apogee -> nirspec": labels_of(0.6)}}}
    row = {"bound": {"nirspec": dict.fromkeys(NAMES, 0.5)}} | zero_shot | {"with labels": zero_shot["contrast"]}
    stored = {"supervised-given": {1: {"nirspec": supervised(0.9)["lamost"]}}, "apogee-nirspec-given": {1: row}}
    stored |= {"supervised": stored["supervised-given"], "apogee-nirspec": {1: row}}
    stored["limits-anew"] = {1: {"bound": {"nirspec": dict.fromkeys(NAMES, 0.55)}}}
    found = {line["figure"]: line for line in table.assemble(figures.zero_shot_figures(), stored)}
    title = "zero-shot NIRSpec labels, RMSE over the best supervised network's, contrast"
    assert found[title]["limit"] == "Teff 1.25, log g 1.25, [Fe/H] 1.25"
    assert found[f"{title}, normalised anew"]["limit"] == "Teff 1.38, log g 1.38, [Fe/H] 1.38"


def test_rows_that_are_missing_are_not_run(lines):
    assert {line["reached"] for line in lines({}).values()} == {"not run"}
    assert {line["verdict"] for line in lines({}).values()} == {"not run"}
    found = lines(
        {"lamost-gaia_xp-given": {1: pair(0.6, 0.6), 2: pair(0.6, 0.6)}, "supervised-given": {2: supervised(0.98)}}
    )
    assert found["recall@1 NIRSpec to LAMOST"]["verdict"] == "not run"
    linear = found["linear probe, R² minus the best supervised network's, LAMOST"]
    assert "seed 1" not in linear["reached"]
    assert (linear["reached"][:7], linear["verdict"]) == ("seed 2:", "met")


def supervised(r2):
    best = {name: figures | {"network": "mlp"} for name, figures in labels_of(0.4, r2).items()}
    return {name: {"bound": dict.fromkeys(NAMES, 0.5), "best": best} for name in ("lamost", "gaia_xp")}


def test_a_probe_behind_the_supervised_network_is_missed(lines):
    found = lines({"lamost-gaia_xp-given": {1: pair(0.6, 0.6)}, "supervised-given": {1: supervised(0.9975)}})
    line = found["linear probe, R² minus the best supervised network's, Gaia XP"]
    assert (line["reach"], line["verdict"]) == ("≥ -0.005", "missed by 0.0025")


def test_what_is_in_brackets_decides_nothing(program):
    table = program("accuracy_table")
    figure = table.Figure("x", ("row",), lambda results: results["row"], 2.0, at_least=False)
    line = table.line_of(figure, {"row": {1: {"Teff": 1.5, "([α/M]": 3.0}}})
    assert (line["reached"], line["verdict"]) == ("seed 1: Teff 1.50, ([α/M] 3.00)", "met")
    line = table.line_of(figure, {"row": {1: {"Teff": 2.001, "([α/M]": 3.0}}})
    assert line["verdict"] == "missed by less than 0.01"
    assert table.line_of(figure, {"row": {1: {"Teff": float("nan")}}})["verdict"] != "met"


def test_many_figures_are_a_range_and_all_of_them_decide(program):
    table = program("accuracy_table")
    figure = table.Figure("x", ("row",), lambda results: results["row"], 0.95)
    values = {"a": 1.01, "b": 0.97, "c": 0.93, "d": 1.0, "e": 0.99}
    line = table.line_of(figure, {"row": {3: values}})
    assert (line["reached"], line["verdict"]) == ("seed 3: 0.93 (c) to 1.01 (a)", "missed by 0.02")


def test_every_figure_is_made_from_rows_that_can_be_run(program):
    rows, figures = program("bench_accuracy").ROWS, program("accuracy_figures").FIGURES
    assert {row for figure in figures for row in (*figure.rows, *figure.limit_rows)} <= set(rows)
    assert len({figure.title for figure in figures}) == len(figures)


def test_rows_are_stored_whole_or_not_at_all(program, tmp_path):
    store = program("accuracy_store")
    store.save(tmp_path, "four", 3, 600, {"a": 1})
    store.save(tmp_path, "mock20-decorrelated", 4, 20000, {"a": 2})
    with pytest.raises(TypeError):
        store.save(tmp_path, "four", 3, 600, {"a": object()})
    assert store.load(tmp_path, 600) == {"four": {3: {"a": 1}}}
    assert store.load(tmp_path, 20000) == {"mock20-decorrelated": {4: {"a": 2}}}
    assert len(list(tmp_path.iterdir())) == 2


def test_the_page_counts_rows_of_full_size_alone(program, tmp_path):
    page, store = program("accuracy_page"), program("accuracy_store")
    store.save(tmp_path, "lamost-gaia_xp", 1, 600, pair(0.6, 0.6))
    page.write_page(tmp_path / "page.rst", tmp_path)
    text = (tmp_path / "page.rst").read_text(encoding="utf-8")
    assert "No row of full size is stored yet" in text
    assert "list-table" not in text
    store.save(tmp_path, "lamost-gaia_xp", 7, 20000, pair(0.46, 0.6) | {"code": "abc"})
    page.write_page(tmp_path / "page.rst", tmp_path)
    text = (tmp_path / "page.rst").read_text(encoding="utf-8")
    assert "No row of full size" not in text
    assert "are shown: 7." in text
    assert "digest: ``abc`` (1)." in text
    assert "seed 7: 0.46\n     - missed by 0.04" in text
    assert "0.600 (1.20)" in text  # RMSE and its ratio to the bound of 0.5
    assert text.count("- not run") > 50
    assert (text.count("     - 0.730\n"), text.count("     - 0.570\n")) == (4, 0)
    limits = {key: pair(0.6, 0.6)[key] for key in ("bound", "oracle")}
    store.save(tmp_path, "limits-anew", 7, 20000, limits | {"oracle": dict.fromkeys(WAYS, 0.57)})
    page.write_page(tmp_path / "page.rst", tmp_path)
    text = (tmp_path / "page.rst").read_text(encoding="utf-8")
    assert (text.count("     - 0.730\n"), text.count("     - 0.570\n")) == (0, 4)


def test_the_page_shows_what_is_stored(program, tmp_path):
    program("accuracy_page").write_page(tmp_path / "accuracy.rst", ROOT / "benchmarks" / "results")
    written = (ROOT / "docs" / "accuracy.rst").read_text(encoding="utf-8")
    made = (tmp_path / "accuracy.rst").read_text(encoding="utf-8")
    assert made == written, "run: python benchmarks/bench_accuracy.py --seed S --stars 20000"
