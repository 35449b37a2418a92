"""Search and retrieval by likelihood: the order of a sorted matrix, and what is refused."""

import dataclasses
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specalign import EmbeddingTable, metrics, ops
from specalign.analysis.likelihood import CANDIDATES, log_likelihood
from specalign.analysis.search import search
from specalign.exceptions import SpectrumError
from specalign.tests.analysis.conftest import make_table

SCALE = 5.0  # of the cosines beside the distributions; each changes the order of the other


def uncertain(table, seed=0, k=3):
    """A table whose rows have distributions: the vectors' first numbers, and what noise they have."""
    variance = np.random.default_rng(seed).uniform(1e-4, 0.02, (len(table), k)).astype(np.float32)
    noise = np.sqrt(variance) * np.random.default_rng(seed + 1).normal(size=variance.shape)
    given = {"latent_mean": table.vectors[:, :k] + noise, "latent_variance": variance}
    return dataclasses.replace(table, provenance=table.provenance | {"likelihood_scale": SCALE}, **given)


@pytest.fixture
def tables():
    return uncertain(make_table(150)[0], 1), uncertain(make_table(150, seed=1, instrument="nirspec")[0], 2)


def whole_matrix(queries, gallery):
    rows = (torch.from_numpy(getattr(t, name)) for t in (queries, gallery) for name in t._LATENT)
    return SCALE * (queries.vectors @ gallery.vectors.T - 1) + ops.mutual_likelihood(*rows).numpy()


def test_neighbours_come_in_the_order_of_the_likelihood(tables):
    gallery, queries = tables
    found = search(gallery, queries, k=150)
    expected = np.argsort(-whole_matrix(queries, gallery), axis=1, kind="stable")
    assert np.array_equal(found["neighbour_row"].reshape(150, 150), expected)
    assert (np.diff(found["log_likelihood"].reshape(150, 150), axis=1) <= 0).all()
    assert found.meta["similarity"] == "likelihood"
    assert list(found["rank"][:150]) == list(range(1, 151))
    cosine = (queries.vectors @ gallery.vectors.T).ravel()[np.arange(150).repeat(150) * 150 + found["neighbour_row"]]
    np.testing.assert_allclose(found["similarity"], cosine, atol=1e-6)


def test_cosines_count_as_much_as_the_space_says(tables):
    gallery, queries = tables
    alone = [dataclasses.replace(table, provenance={}) for table in tables]
    rows, cosine = np.array([[3, 7]] * len(queries)), np.array([[0.5, -0.5]] * len(queries), np.float32)
    found, latent = (log_likelihood(two[1], two[0], rows, cosine) for two in (tables, alone))
    np.testing.assert_allclose(found - latent, [[-2.5, -7.5]] * len(queries), atol=1e-4)
    far = [dataclasses.replace(table, provenance={"likelihood_scale": 1e6}) for table in tables]
    rows = search(*far, k=3)["neighbour_row"]
    assert np.array_equal(rows, search(gallery, queries, k=3, similarity="cosine")["neighbour_row"])


def test_few_neighbours_are_the_best_of_those_that_cosines_find(tables):
    gallery, queries = tables
    near = np.argsort(-queries.vectors @ gallery.vectors.T, axis=1, kind="stable")[:, :CANDIDATES]
    likelihood = np.take_along_axis(whole_matrix(queries, gallery), near, axis=1)
    best = np.take_along_axis(near, np.argsort(-likelihood, axis=1, kind="stable"), axis=1)[:, :4]
    assert np.array_equal(search(gallery, queries, k=4)["neighbour_row"].reshape(-1, 4), best)


def test_retrieval_counts_the_ranks_of_a_search(tables):
    gallery, queries = tables
    found = search(gallery, queries, k=CANDIDATES)
    hit = (found["object_id"] == found["neighbour_object_id"]).reshape(150, -1)
    figures = metrics.retrieval(queries, gallery)
    assert figures["recall@1"] == hit[:, 0].mean()
    assert figures["recall@5"] == hit[:, :5].any(axis=1).mean()
    assert figures["recall@1"] != metrics.retrieval(queries, gallery, similarity="cosine")["recall@1"]


def test_a_star_that_cosines_do_not_propose_keeps_its_rank_behind_the_candidates(tables):
    gallery, queries = tables
    far = gallery.vectors @ queries.vectors[0]
    last = np.argsort(-far, kind="stable")[-1]
    query = dataclasses.replace(queries[:1], object_id=gallery.object_id[[last]])
    query.latent_mean, query.latent_variance = gallery.latent_mean[[last]], gallery.latent_variance[[last]]
    assert metrics.retrieval(query, gallery)["median_rank"] == len(gallery)


def test_several_visits_count_by_the_best(tables):
    gallery, queries = tables
    again = dataclasses.replace(gallery, spectrum_id=[f"{name} again" for name in gallery.spectrum_id])
    again.latent_mean = gallery.latent_mean + 5
    both = EmbeddingTable.concatenate([gallery, again])
    assert metrics.retrieval(queries, both)["recall@1"] == metrics.retrieval(queries, gallery)["recall@1"]


class Index:
    """An approximate index that finds everything, and keeps how many rows it was asked for."""

    asked = None

    def __init__(self, gallery, **options):
        self.gallery = gallery

    def query(self, queries, k):
        type(self).asked = k
        return np.argsort(-queries @ self.gallery.T, axis=1, kind="stable")[:, :k], None


def test_an_approximate_search_proposes_candidates_too(tables, monkeypatch):
    module = ModuleType("pynndescent")
    module.NNDescent = Index
    monkeypatch.setitem(sys.modules, "pynndescent", module)
    gallery, queries = tables
    found = search(gallery, queries, k=2, method="pynndescent")
    assert Index.asked == CANDIDATES
    assert found.meta["recall"] == 1
    assert np.array_equal(found["neighbour_row"], search(gallery, queries, k=2)["neighbour_row"])


@given(order=st.permutations(range(20)))
def test_the_order_of_the_gallery_does_not_matter(order):
    gallery, queries = uncertain(make_table(20)[0], 1), uncertain(make_table(20, seed=1)[0], 2)
    direct, shuffled = (search(table, queries, k=5) for table in (gallery, gallery[list(order)]))
    assert np.array_equal(direct["neighbour_spectrum_id"], shuffled["neighbour_spectrum_id"])
    np.testing.assert_array_equal(direct["log_likelihood"], shuffled["log_likelihood"])


def test_tables_without_distributions_are_compared_by_cosine(tables):
    gallery, queries = tables
    plain = dataclasses.replace(queries, latent_mean=None, latent_variance=None)
    found = search(gallery, plain, k=3)
    assert found.meta["similarity"] == "cosine"
    assert "log_likelihood" not in found.colnames
    assert np.array_equal(found["neighbour_row"], search(gallery, queries, k=3, similarity="cosine")["neighbour_row"])
    for ask in (search, lambda one, other, **options: metrics.retrieval(other, one, **options)):
        with pytest.raises(SpectrumError, match=r"expected embeddings with latent_mean .* objective='clip.likelihood'"):
            ask(gallery, plain, similarity="likelihood")
        with pytest.raises(ValueError, match="similarity: expected one of auto, cosine, likelihood, got 'dot'"):
            ask(gallery, queries, similarity="dot")


def test_no_queries_are_no_failure(tables):
    gallery, queries = tables
    assert len(search(gallery, queries[:0], k=3)) == 0
    assert log_likelihood(queries[:0], gallery, np.zeros((0, 4), int), np.zeros((0, 4))).shape == (0, 4)
