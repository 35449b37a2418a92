import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specalign import EmbeddingTable
from specalign.analysis import search as search_module
from specalign.analysis.search import search
from specalign.exceptions import GridMismatchError, SpectrumError
from specalign.tests.analysis.conftest import make_table


def test_agrees_with_a_sorted_matrix(survey):
    apogee, nirspec, _ = survey
    found = apogee.search(nirspec, k=7)
    similarity = nirspec.vectors.astype(float) @ apogee.vectors.astype(float).T
    expected = np.argsort(-similarity, axis=1)[:, :7]
    assert np.array_equal(found["neighbour_row"].reshape(-1, 7), expected)
    assert np.allclose(found["similarity"].reshape(-1, 7), np.take_along_axis(similarity, expected, 1), atol=1e-6)


def test_columns_stay_with_their_rows(survey):
    apogee, nirspec, _ = survey
    found = search(apogee, nirspec, k=3)
    assert np.array_equal(found["object_id"], np.repeat(nirspec.object_id, 3))
    assert np.array_equal(found["spectrum_id"], np.repeat(nirspec.spectrum_id, 3))
    assert np.array_equal(found["neighbour_object_id"], apogee.object_id[found["neighbour_row"]])
    assert np.array_equal(found["neighbour_spectrum_id"], apogee.spectrum_id[found["neighbour_row"]])
    assert set(found["neighbour_instrument"]) == {"apogee"}
    assert list(found["rank"][:4]) == [1, 2, 3, 1]
    assert found.meta == {"k": 3, "method": "exact", "space": "s1", "n_gallery": 200, "similarity": "cosine"}


def test_ties_go_to_the_lowest_row():
    gallery = EmbeddingTable(np.ones((5, 3)), list("abcde"), list("abcde"), "apogee", np.ones(5), np.ones(5))
    found = gallery.search(gallery[4], k=5)
    assert list(found["neighbour_row"]) == [0, 1, 2, 3, 4]


def test_k_beyond_the_gallery_gives_all_of_it(survey):
    apogee, nirspec, _ = survey
    found = apogee[:4].search(nirspec[:2], k=10)
    assert len(found) == 8
    assert found.meta["k"] == 4


def test_no_queries_give_no_rows(survey):
    apogee, nirspec, _ = survey
    found = apogee.search(nirspec[:0], k=3)
    assert len(found) == 0
    assert "neighbour_object_id" in found.colnames


@given(order=st.permutations(range(20)))
def test_the_order_of_the_gallery_does_not_matter(order):
    gallery, queries = make_table(20)[0], make_table(20, seed=1)[0]
    direct, shuffled = gallery.search(queries, k=5), gallery[list(order)].search(queries, k=5)
    assert np.array_equal(direct["neighbour_spectrum_id"], shuffled["neighbour_spectrum_id"])


def test_two_spaces_are_refused(survey):
    other = make_table(space="s2")[0]
    with pytest.raises(GridMismatchError, match="space 's1' cannot be compared with those of 's2'"):
        survey[0].search(other)


def test_another_number_of_dimensions_is_refused(survey):
    apogee, nirspec, _ = survey
    cut = EmbeddingTable(nirspec.vectors[:, :4], "a", nirspec.spectrum_id, "nirspec", 1, 1, nirspec.provenance)
    with pytest.raises(GridMismatchError, match="6 dimensions cannot be compared with those of 4"):
        apogee.search(cut)


def test_an_empty_gallery_is_an_error(survey):
    with pytest.raises(SpectrumError, match="gallery is empty"):
        survey[0][:0].search(survey[1])


@pytest.mark.parametrize(("options", "message"), [({"k": 0}, "at least one"), ({"method": "annoy"}, "pynndescent")])
def test_bad_options_are_errors(survey, options, message):
    with pytest.raises(ValueError, match=message):
        survey[0].search(survey[1], **options)


class Careless:
    """An index that misses the last neighbour, and returns the others worst first."""

    def __init__(self, gallery, **options):
        self.gallery = gallery

    def query(self, queries, k):
        order = np.argsort(-queries @ self.gallery.T, axis=1)
        return np.concatenate([order[:, k : k + 1], order[:, : k - 1][:, ::-1]], axis=1), None


def test_approximate_search_reports_its_recall_and_sorts(survey, monkeypatch, caplog):
    module = ModuleType("pynndescent")
    module.NNDescent = Careless
    monkeypatch.setitem(sys.modules, "pynndescent", module)
    apogee, nirspec, _ = survey
    caplog.set_level("INFO", logger="specalign")
    found = apogee.search(nirspec, k=5, method="pynndescent")
    assert found.meta["recall"] == pytest.approx(0.8)
    assert found.meta["seed"] == 0
    assert (np.diff(found["similarity"].reshape(-1, 5), axis=1) <= 0).all()
    exact = apogee.search(nirspec, k=5)
    assert np.array_equal(found["neighbour_row"].reshape(-1, 5)[:, :4], exact["neighbour_row"].reshape(-1, 5)[:, :4])
    assert "compiles" in caplog.text


@pytest.mark.slow
def test_pynndescent_finds_what_exact_search_finds():
    gallery, queries = make_table(2000)[0], make_table(300, seed=1)[0]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    found = gallery.search(queries, k=10, method="pynndescent")
    assert found.meta["recall"] > 0.95
    again = gallery.search(queries, k=10, method="pynndescent")
    assert np.array_equal(found["neighbour_row"], again["neighbour_row"])
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_methods_are_named():
    assert search_module.METHODS == ("exact", "pynndescent")
