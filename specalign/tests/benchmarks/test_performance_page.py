"""The performance page says what its rows say, and nothing else; the programs store what it reads."""

import argparse
import json
import math
import re
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "benchmarks"
STORE = FOLDER / "results"
PAGE = ROOT / "docs" / "performance.rst"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "performance_page.py").is_file(), reason="needs the checkout's folder 'benchmarks'"
)
NAMES = ("prepare", "velocity", "ops", "ops-blas", "start")
TRAINING = "accuracy-throughput-seed31-stars20000"


@pytest.fixture(autouse=True)
def flat(monkeypatch):
    """The programs import each other flatly."""
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def write(tmp_path):
    """Write the page of a folder and give its text."""

    def page(store):
        import performance_page

        performance_page.write_page(tmp_path / "page.rst", store)
        return (tmp_path / "page.rst").read_text(encoding="utf-8")

    return page


@pytest.fixture
def store(tmp_path):
    """A copy of the stored rows."""
    return Path(shutil.copytree(STORE, tmp_path / "rows", ignore=lambda _, names: set(names) - files()))


def files():
    return {f"performance-{name}.json" for name in (*NAMES, "ops-cuda")}


def change(store, name, call):
    """Change a stored row in place."""
    path = store / f"performance-{name}.json"
    row = json.loads(path.read_text(encoding="utf-8"))
    call(row)
    path.write_text(json.dumps(row), encoding="utf-8")


def numbers(value):
    """All numbers in a row."""
    if isinstance(value, dict | list):
        return [one for part in (value.values() if isinstance(value, dict) else value) for one in numbers(part)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_the_page_shows_what_is_stored(write):
    assert write(STORE) == PAGE.read_text(encoding="utf-8"), "run: python benchmarks/performance_page.py"


def test_without_rows_the_page_has_no_figure_and_every_command(write, tmp_path):
    page = write(tmp_path)
    training = "    python benchmarks/bench_accuracy.py --seed 31 --stars 20000 --rows throughput\n"
    assert page.count(training) == 1
    assert re.findall(r"\d+", page.replace(training, "").replace("float32", "")) == []
    programs = ("prepare", "velocity", "ops", "ops_cuda", "start")
    for name in programs:
        assert f"    python benchmarks/bench_{name}.py --store\n" in page
        assert (FOLDER / f"bench_{name}.py").is_file()
    assert page.count("**Not measured") == len(programs) + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_row_is_said_and_leaves_the_others_alone(name, write, store):
    before = write(store)
    (store / f"performance-{name}.json").unlink()
    page = write(store)
    program = "bench_ops.py --blas" if name == "ops-blas" else f"bench_{name}.py"
    command = f"    python benchmarks/{program} --store\n"
    assert (command in before, command in page) == (False, True)
    assert page.count("**Not measured") == before.count("**Not measured") + 1
    assert page.count(".. list-table::") < before.count(".. list-table::") or name == "velocity"


@pytest.mark.parametrize("name", [*(f"performance-{name}" for name in NAMES), TRAINING])
def test_stored_rows_are_of_full_size_and_name_no_place(name):
    row = json.loads((STORE / f"{name}.json").read_text(encoding="utf-8"))
    facts = row["facts"]
    assert set(facts) == {"date", "processor", "cores", "load", "python", "versions"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["date"])
    assert "missing" not in facts["versions"].values()
    assert all(map(math.isfinite, numbers(row)))
    assert not re.search(r"/(tmp|home|work|root|usr)\b|\.\./", json.dumps(row))
    assert row.get("spectra", 1000) == 1000
    assert row.get("repeats", 2) >= 2
    assert [size["stars"] for size in row.get("sizes", [])] in ([], [5000, 20000, 50000])
    assert [case["wrong"] for case in row.get("cases", {}).values() if case["wrong"]] == []


def test_stored_ops_are_all_cases_of_the_program():
    import bench_ops

    row = json.loads((STORE / "performance-ops.json").read_text(encoding="utf-8"))
    assert list(row["cases"]) == [*bench_ops.timing_cases(), *bench_ops.memory_cases()]
    assert "NOT MEASURED" not in [line["verdict"] for case in row["cases"].values() for line in case["lines"]]


def test_a_load_is_said_and_one_above_the_number_of_cores_is_said_so(write, store):
    pages = []
    for load in (0.2, 1.5, 2.01):
        change(store, "velocity", lambda row, load=load: row["facts"].update(load=load, cores=2))
        pages.append(" ".join(write(store).split()))
    assert "The load was 0.20 before it. " in pages[0]
    assert "**The load was 1.50 before it:** other work took its share" in pages[1]
    assert "**The load was 2.01 before it, more than there are cores:** other work took its share" in pages[2]


def test_a_case_or_peer_that_is_missing_is_said(write, store):
    def lose(row):
        del row["cases"]["memory-topk"]
        lines = row["cases"]["topk-20-random"]["lines"]
        for line in lines:
            if line["what"].startswith("faiss"):
                line.update(seconds=None, figure=None, note="not measured: faiss is missing")
        row["cases"]["match_rank"].update(lines=[], rates={}, wrong=["FAILED: MemoryError"])

    before = write(store)
    change(store, "ops", lose)
    page = write(store)
    assert page.count("     - not measured\n") > before.count("     - not measured\n") + 3
    assert "1,000 in 500,000, D 128" in before
    assert "     - 1,000 in 500,000, D 128" not in page


def test_what_does_not_help_follows_from_the_rows(write, store):
    def faster(row):
        for case in row["cases"].values():
            for line in case["lines"]:
                if not line["what"].startswith(("specalign", "check")) and line["seconds"]:
                    line.update(seconds=1e4, figure=1.0)

    change(store, "ops", faster)
    page = write(store)
    assert "no peer was quicker" in page
    assert "no mistake" not in page


def test_a_row_of_a_gpu_takes_the_place_of_not_measured(write, store):
    line = {"what": "specalign", "seconds": 0.25, "figure": 61.5, "unit": "%", "note": "of torch.mm"}
    case = {"name": "topk", "title": "topk_similarity on a device", "lines": [line]}
    row = json.loads((store / "performance-velocity.json").read_text(encoding="utf-8"))
    facts = row["facts"] | {"device": "GPU Mk 7"}
    text = json.dumps({"facts": facts, "repeats": 7, "cases": {"topk": case}})
    (store / "performance-ops-cuda.json").write_text(text, encoding="utf-8")
    page = write(store)
    assert "Not measured on a GPU" not in page
    assert all(part in page for part in ("GPU Mk 7", "topk_similarity on a device", "250 ms", "61.5 %"))


def trained(stars, **changed):
    """One size of the row of trainings: 2,000 spectra a second."""
    size = {"stars": stars, "spectra": 2 * stars, "spectra_per_second": 2000.0, "waiting_share": 0.031}
    return size | {"before_seconds": 1.5, "step_seconds": 2 * stars / 1000, "fit_seconds": stars / 400 + 4.0} | changed


def test_trainings_of_all_sizes_are_told_with_their_growth(write, store):
    facts = json.loads((store / "performance-velocity.json").read_text(encoding="utf-8"))["facts"] | {"load": 0.1}
    row = {"facts": facts, "threads": 2, "epochs": 2, "sizes": [trained(5000), trained(50000)]}
    for seed, rate in ((31, 2000.0), (41, 1000.0)):
        row["sizes"][1]["spectra_per_second"] = rate
        (store / f"accuracy-throughput-seed{seed}-stars20000.json").write_text(json.dumps(row), encoding="utf-8")
    page = " ".join(write(store).split())
    assert "* - 5,000 - 10,000 - 2,000 - 5.00 s - 3.1 % - 1.50 s - 5.00 s" in page
    assert "* - 50,000 - 100,000 - 1,000 - 100 s - 3.1 % - 1.50 s - 27.5 s" in page
    assert "A pass over 10.0 times as many spectra takes 20.0 times as long." in page
    assert "is 3.1 % of the steps, which is less than the 10 % that it may be." in page
    row["sizes"][0]["waiting_share"] = 0.12
    (store / "accuracy-throughput-seed41-stars20000.json").write_text(json.dumps(row), encoding="utf-8")
    assert "is 12.0 % of the steps, which is not less than" in " ".join(write(store).split())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.9, "3.90 s"), (0.0552, "55.2 ms"), (55e-6, "55.0 µs"), (241e-3, "241 ms")],
)
def test_durations(seconds, text):
    import performance_text

    assert performance_text.duration(seconds) == text


def test_what_the_programs_measure_makes_a_page(write, tmp_path, monkeypatch):
    import bench_ops
    import bench_start
    import bench_velocity
    import ops_peers
    from performance_rows import facts, store_row

    assert bench_start.measure(1, {"nothing": "print(0.5)", "broken": "import no_such_module"}) == {
        "nothing": {"first": [0.5], "next": [0.5]}
    }
    sizes = argparse.Namespace(rows=3, templates=2, pixels=512, repeats=1)
    measured = bench_velocity.measure(sizes)
    assert measured["goal_seconds"] is None
    store_row(tmp_path, "velocity", {"facts": facts("numpy"), "threads": 1} | measured)
    monkeypatch.setattr(ops_peers, "gc", types.SimpleNamespace(collect=int))  # which takes longer than the rest
    options = argparse.Namespace(quick=True, repeats=1, threads=1)
    case = ops_peers.Case("info_nce-256x32", "small")
    bench_ops.timing_cases()[case.name][1](case, options)
    assert case.wrong == []
    row = {"facts": facts("torch"), "threads": 1, "repeats": 1, "cases": {case.name: case.record()}}
    store_row(tmp_path, "ops", row)
    page = write(tmp_path)
    assert page.count("**Not measured") == 5
    seconds = [line["seconds"] for line in case.record()["lines"] if line["seconds"]]  # of the peers that are installed
    assert np.isclose(seconds, min(case.times["specalign"])).any()


@pytest.mark.slow
def test_what_bench_prepare_measures_is_what_the_page_reads(write, tmp_path):
    pytest.importorskip("spectres")
    import bench_prepare
    from performance_rows import facts, store_row

    measured = bench_prepare.measure(2, 1, peer_rows=1)
    row = {"facts": facts("numpy"), "threads": 1} | measured
    stored = json.loads((STORE / "performance-prepare.json").read_text(encoding="utf-8"))
    assert set(row) == set(stored)
    assert {len(times) for times in measured["seconds_a_spectrum"].values()} == {1}
    store_row(tmp_path, "prepare", row)
    assert "2 spectra of 8,575 pixels" in " ".join(write(tmp_path).split())


@pytest.mark.parametrize("options", [["--quick"], ["--only", "topk"], ["--blas", "--quick"]])
def test_figures_of_small_sizes_or_some_cases_are_not_stored(options, monkeypatch, capsys):
    import bench_ops

    monkeypatch.setattr(sys, "argv", ["bench_ops.py", *options, "--store"])
    with pytest.raises(SystemExit):
        bench_ops.main()
    assert "--store: expected all cases at full size" in capsys.readouterr().err
