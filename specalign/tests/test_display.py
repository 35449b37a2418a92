"""What objects show of themselves: every public class, and nothing that a browser would run."""

import html.parser
import importlib
import inspect
import re
import time
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

import specalign as sa
from specalign import fetch
from specalign.alignment import AdaptationHistory, History, LabelHistory, LabelRegressor, SpectraOrigin
from specalign.alignment.calibration import LabelErrors
from specalign.alignment.objectives import InfoNCE
from specalign.analysis.baselines import FluxLabelModel
from specalign.analysis.conformal import ConformalLabels
from specalign.analysis.false_alarms import Tail
from specalign.analysis.network import NetworkEnsemble
from specalign.analysis.scores import PairScale
from specalign.data.label_systems import LabelSystem
from specalign.data.loading import StarLoader, join_stars
from specalign.data.scaling import ColumnScaler, LabelScaling
from specalign.data.scheme import LabelScheme
from specalign.data.splits import StarSplit
from specalign.display import Displayed, brief, html_table
from specalign.encoders.layers import summary
from specalign.fetch.results import Outcome
from specalign.instruments.continuum import Continuum, MedianFlux, Pivot, Unchanged
from specalign.instruments.masking import DetectorGap, Window
from specalign.instruments.measured import MeasuredVelocity
from specalign.instruments.resampling import ResampledRows, pixel_edges
from specalign.instruments.resolution import SmoothingWeights
from specalign.io.gaia_formats import Origin, XPTable
from specalign.io.votable import VOTable
from specalign.plots import Section, project
from specalign.plugins import Plugin
from specalign.prediction import TrainingDomain
from specalign.testing.contract import Contract

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
NASTY = "<script>alert('1')</script>&"
VOID = {"br", "hr"}


def public_classes():
    modules = re.findall(r"automodapi:: (\S+)", "".join(p.read_text("utf-8") for p in REFERENCE.glob("*.rst")))
    found = {}
    for module in map(importlib.import_module, modules):
        for name in getattr(module, "__all__", ()):
            one = getattr(module, name)
            if inspect.isclass(one) and not issubclass(one, BaseException):
                found[name] = one
    return found


@pytest.mark.parametrize("one", public_classes().values(), ids=lambda one: one.__name__)
def test_every_public_class_shows_itself(one):
    assert one.__repr__ is not object.__repr__
    assert callable(getattr(one, "_repr_html_", None))


def test_the_enumeration_finds_the_classes():
    assert {"PreparedSpectra", "EmbeddingTable", "Aligner", "Product", "StarSplit", "Apogee"} <= set(public_classes())


def spectra(n=3, name="star"):
    xp = sa.get_instrument("gaia_xp")
    flux = np.full((n, 343), 3e-17)
    flux[:, 10:20] = np.nan
    if n > 2:
        flux[2] = np.nan
    unit = u.W / u.m**2 / u.nm
    return xp.prepare_arrays(flux * unit, spectral_axis=xp.spectral_axis, object_id=[f"{name}{i}" for i in range(n)])


def embeddings():
    names = [f"{NASTY}{i}" for i in range(4)]
    vectors = np.random.default_rng(0).normal(size=(4, 3))
    return sa.EmbeddingTable(vectors, names, names, NASTY, [50, 60, 70, np.nan], [1, 1, 0.5, 0.5])


def labels():
    return QTable(
        {"object_id": [f"{NASTY}{i}" for i in range(4)], "teff": [4000.0, 5000, 6000, 5500] * u.K},
        meta={"label_system": NASTY},
    )


def history():
    first = History(counts={"stars": 3, "rows": {NASTY: 2}}, unmatched={NASTY: {"count": 1, "first": [NASTY]}})
    first.add(epoch=0, train_loss=1.5, val_loss=2.0, seconds=1.0)
    return first


def encoder():
    return sa.get_encoder("mlp", n_pixels=16, embed_dim=4)


def loader():
    prepared, index = spectra(), join_stars({"gaia_xp": ["star0", "star1"]})
    return StarLoader({"gaia_xp": prepared}, index, np.arange(2), 2)


EXAMPLES = {
    "AdaptationHistory": lambda: AdaptationHistory(counts={"instrument": NASTY, "training": 3}),
    "Aligner": lambda: sa.Aligner(["apogee", "nirspec"]),
    "ColumnScaler": lambda: ColumnScaler("standard", (0.0,), (1.0,)),
    "ConformalLabels": lambda: ConformalLabels(sa.LabelModel("linear")),
    "Continuum": lambda: Continuum(np.array([[0, 5]])),
    "Contract": lambda: Contract(NASTY, None, {NASTY: None}),
    "DetectorGap": lambda: DetectorGap(1.0, 2.0, 3.0, (NASTY,)),
    "EmbeddingTable": embeddings,
    "Encoder": encoder,
    "FetchConf": lambda: fetch.conf,
    "FluxLabelModel": lambda: FluxLabelModel(hidden=8),
    "History": history,
    "InfoNCE": InfoNCE,
    "Instrument": lambda: sa.get_instrument("apogee"),
    "InstrumentRecord": lambda: spectra().instrument,
    "LabelErrors": lambda: LabelErrors([1.0], [2.0]),
    "LabelHistory": lambda: LabelHistory(stopped=NASTY),
    "LabelModel": lambda: sa.LabelModel("knn", k=2).fit(embeddings(), labels()),
    "LabelPosterior": lambda: sa.LabelModel("knn", k=2).fit(embeddings(), labels()).posterior(embeddings()),
    "LabelRegressor": lambda: LabelRegressor("starnet"),
    "LabelScaling": lambda: LabelScaling.fit(labels()),
    "LabelScheme": lambda: LabelScheme.from_table(labels(), labels()["object_id"])[0],
    "LabelSystem": lambda: LabelSystem(NASTY, ids=("star",)),
    "MaskRules": lambda: sa.get_instrument("apogee").rules,
    "MeasuredVelocity": lambda: MeasuredVelocity(spectra()),
    "MedianFlux": MedianFlux,
    "NetworkEnsemble": lambda: NetworkEnsemble(hidden=8),
    "Origin": lambda: Origin(Path(NASTY)),
    "Outcome": lambda: Outcome(NASTY, NASTY, "missing", Path(NASTY), NASTY),
    "OutlierModel": lambda: sa.OutlierModel(["neighbours", "residual"]),
    "PairScale": lambda: PairScale(np.full((20, 2), 50.0), np.full(20, 0.9)),
    "Pivot": lambda: Pivot(3),
    "PixelEdges": lambda: pixel_edges(np.arange(5.0)),
    "Plugin": lambda: Plugin(NASTY, "d", "m", "a"),
    "PreparedSpectra": spectra,
    "Product": lambda: sa.get_instrument("apogee").products[0],
    "Projection": lambda: project(embeddings()),
    "ResampledRows": lambda: ResampledRows(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3), np.uint32)),
    "Section": lambda: Section(NASTY, NASTY),
    "Session": lambda: fetch.Session(cache=NASTY),
    "SmoothingWeights": lambda: SmoothingWeights(*[np.arange(3)] * len(SmoothingWeights._fields)),
    "SpectraOrigin": lambda: SpectraOrigin.of(spectra()),
    "StarIndex": lambda: join_stars({NASTY: ["a"], "b": ["a"]}),
    "StarLoader": loader,
    "StarSplit": lambda: StarSplit.draw([NASTY, "b"], seed=1),
    "Summary": lambda: summary(encoder()),
    "Tail": lambda: Tail(np.arange(20.0)),
    "TrainingDomain": lambda: TrainingDomain(None, {"frames": [NASTY]}),
    "Unchanged": Unchanged,
    "VOTable": lambda: VOTable({NASTY: [1, 2]}, {}, {}, 2, ()),
    "Window": lambda: Window(1.0, 2.0, NASTY),
    "XPTable": lambda: XPTable(Origin(Path(NASTY)), "xp-sampled", [{}]),
}


class Outline(html.parser.HTMLParser):
    """Tags of a page, which must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes = [], set(), []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", EXAMPLES)
def test_shown_objects_are_plain_and_safe(name):
    one = EXAMPLES[name]()
    assert " at 0x" not in repr(one)
    assert len(repr(one)) < 3000
    text = one._repr_html_()
    outline = Outline(text)
    assert outline.tags <= {"table", "caption", "tr", "th", "td"}
    assert outline.attributes == []
    assert " at 0x" not in text
    assert len(text) < 6000
    assert text.count("<tr>") > 0
    assert f"<caption>{name}" in text or name in ("Instrument", "Encoder")


def test_the_outline_sees_what_a_browser_would_run():
    assert "script" in Outline(f"<table><tr><td>{NASTY}</td></tr></table>").tags


def test_prepared_spectra_tell_units_masks_and_what_was_rejected():
    text = spectra()._repr_html_()
    for part in (
        "2 of 2 objects, 1 rejected",
        "343",
        "% bad",
        "from 3360 to 10200 Angstrom, vacuum",
        "pixels are good",
    ):
        assert part in text
    assert f"343, {100 * spectra(2).mask.mean():.1f} % bad" in spectra(2)._repr_html_()


def test_the_signal_to_noise_of_many_rows_is_that_of_a_sample(monkeypatch):
    monkeypatch.setattr("specalign.instruments.output.SAMPLE", 5)
    assert "of 5 rows" in spectra(21)._repr_html_()
    monkeypatch.setattr("specalign.instruments.prepared._MOST_PIXELS", 343)
    assert "20 spectra" in repr(spectra(21))


def test_many_rows_are_shown_at_once():
    n = 200_000
    names = np.arange(n).astype(str)
    table = sa.EmbeddingTable(np.ones((n, 2)), names, names, "apogee", np.full(n, 50), np.ones(n))
    start = time.process_time()
    assert f"<td>{n}</td>" in table._repr_html_()
    assert f"{n} vectors" in repr(table)
    assert time.process_time() - start < 2


def test_embeddings_tell_the_state_of_each_instrument():
    table = embeddings()
    table.in_domain = np.array([True, False, False, True])
    text = table._repr_html_()
    assert "<td>60</td>" in text  # the median S/N of those that have one
    assert "25.0 %" in text
    assert "<td>2</td></tr>" in text


def test_instruments_tell_grid_resolution_and_mask():
    text = sa.get_instrument("apogee")._repr_html_()
    for part in ("8575 from 15100.8 to 16999.8 Angstrom", "22500", "BADPIX", "aspcapStar"):
        assert part in text


def test_a_trained_history_tells_its_kept_epoch():
    text = history()._repr_html_()
    assert "<th>val_loss, kept epoch</th><td>2</td>" in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (np.zeros((2, 3), np.float32), "(2, 3) float32"),
        (np.zeros(0), "(0,) float64"),
        ([1.0, np.nan] * u.K, "2 from nan to nan K"),
        (np.array(["a", "b"]), "(2,) str"),
        (np.float64(2.5), "2.5"),
        (3.0 * u.K, "3 K"),
        (True, "True"),
        ({}, "none"),
        (range(9), "range(0, 9)"),
        (list(range(9)), "0, 1, 2, 3, 4, and 4 more"),
        ("a\n  b", "a b"),
        ("x" * 1000, "x" * 300 + "..."),
        (QTable({"a": [1, 2]}), "2 rows of a"),
    ],
)
def test_brief(value, text):
    assert brief(value) == text


def test_rows_of_a_table_are_escaped_everywhere():
    text = html_table(NASTY, [(NASTY, NASTY)], (NASTY, NASTY))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 5


def test_a_subclass_says_its_facts():
    class Star(Displayed):
        def _facts(self):
            return {"name": NASTY}

    assert "<script" not in Star()._repr_html_()
    assert repr(Star()) == f"<Star: name {NASTY}>"


def test_a_class_of_ones_own_needs_neither_fields_nor_a_docstring():
    one = type("Own", (Displayed,), {"__doc__": None})()
    assert repr(one) == "<Own: rule none stated>"


def test_histories_are_compared_without_an_error():
    from specalign.alignment.history import AdaptationHistory, History

    for kind in (History, AdaptationHistory):
        one, other = kind(), kind()
        for history in (one, other):
            history.add(epoch=0, seconds=1.0)
            history.add(epoch=1, seconds=1.0)
        assert one == one
        assert one != other
