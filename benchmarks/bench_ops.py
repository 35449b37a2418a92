"""The similarity ops on the CPU against what people use, in one run.

    python benchmarks/bench_ops.py [--threads 2] [--repeats 5] [--blas] [--store] [--only topk-20] [--quick]

Every case times the project, its peers, a copy, and matrix products in turns, and prints medians, ratios of medians
with the ratio to reach, and floors: operations over the measured float32 rate of ``torch.mm`` (the larger of two
products' medians), operations over the rate of the products as the project's tiles make them, which need not be
``torch.mm``, and bytes (inputs read once, results written once) over the measured copy bandwidth.
The numbers are compared first; a wrong one is said, and the exit status is 1.

Memory is the peak of a fresh process above inputs and results; `ops_peers.measure_peak` says how.
"""

import argparse
import concurrent.futures
import functools
import math
import multiprocessing
import os
import statistics

import numpy as np
import ops_peers
import torch
from performance_rows import add_store_option, facts

from specalign import ops
from specalign.ops.tiled import products

SHRINK = 32  # what --quick divides the number of rows by
ARGSORT_ROWS = 1024  # similarities that the peer of match_rank sorts at a time
TILE = 1024
PRODUCT_ROWS = 4096  # of the gallery, in the bare product
PACKAGES = ("torch", "numpy", "faiss-cpu", "open_clip_torch", "scikit-learn")
SAMPLED_PAIRS = 2000


def rows(number, options):
    return max(16, number // SHRINK) if options.quick else number


def tile_products(columns):
    """A call with the products of a tiled loss (tile by tile, weights by rows), and its operations."""
    x, y = ops_peers.unit_rows(8 * TILE, columns, 1), ops_peers.unit_rows(8 * TILE, columns, 2)
    tile, out = torch.empty(TILE, TILE), torch.empty(TILE, columns)

    def call():
        for a, b in zip(x.split(TILE), y.split(TILE), strict=True):
            torch.mm(a, b.T, out=tile)
            torch.mm(tile, b, out=out)

    return call, 8 * 4 * TILE**2 * columns


def own_products(columns):
    """The same products as the project's tiles make them, which need not call torch.mm."""
    x, y = ops_peers.unit_rows(8 * TILE, columns, 1), ops_peers.unit_rows(8 * TILE, columns, 2)
    out = torch.zeros(TILE, columns)

    def call():
        for a, b in zip(x.split(TILE), y.split(TILE), strict=True):
            products.add_product(out, products.similarity(a, b), b)

    return call, 8 * 4 * TILE**2 * columns


def yardsticks(columns, options):
    """Calls that measure the machine, and the operations or bytes of each."""
    side = 512 if options.quick else 4096
    a, b, c = (ops_peers.unit_rows(side, side, seed) for seed in range(3))
    source, target = torch.ones(2, 4 * side**2).unbind()
    tiles, operations = tile_products(columns)
    return {
        f"torch.mm {side}^3": (lambda: torch.mm(a, b, out=c), 2 * side**3),
        f"torch.mm in tiles, D {columns}": (tiles, operations),
        ops_peers.OWN_PRODUCTS: own_products(columns),
        "copy": (lambda: target.copy_(source), 2 * source.nbytes),
    }


def measure(case, contenders, columns, options):
    sticks = yardsticks(columns, options)
    return ops_peers.measure(case, contenders, sticks, options.repeats, ops_peers.wall_clock)


def floors(case, rate, bandwidth, operations, size, goal=None):
    case.floor("operations, at the product's rate", operations, rate, "specalign", goal, note=" of torch.mm")
    own = case.rates["own products"]
    case.floor("operations, at the rate of the tiles' own products", operations, own, "specalign")
    case.floor("bytes, at the copy's bandwidth", size, bandwidth, "specalign", note=" of a copy")


def loss_leaves(n, d, *scalars):
    """Rows, near rows, and scalars that want gradients."""
    x = ops_peers.unit_rows(n, d, seed=1)
    y = ops_peers.near_rows(x, 2.0, seed=2)
    return [value.requires_grad_() for value in (x, y, *map(torch.tensor, scalars))]


def check_loss(case, value, wanted):
    case.check("loss, relative to the formula", ops_peers.relative_error(value[0], wanted[0]), 1e-5)
    worst = max(ops_peers.relative_error(a, b) for a, b in zip(value[1:], wanted[1:], strict=True))
    case.check("gradients, relative to the formula's", worst, 1e-4)


def loss_case(case, options, size, loss, usual, scalars, other, goal=None, share=None):
    """Forward and backward of a loss against the usual formula and a loss of open_clip."""
    n, d = rows(size[0], options), size[1]
    leaves = loss_leaves(n, d, *scalars)
    module, remark = ops_peers.open_clip_loss()
    losses = {"specalign": loss, "usual": usual} | ({"other": getattr(module, other)()} if module else {})
    calls = {name: ops_peers.with_gradients(one, *leaves) for name, one in losses.items()}
    wanted = calls["usual"]()
    check_loss(case, calls["specalign"](), wanted)
    if module:
        apart = ops_peers.relative_error(calls["other"]()[0], wanted[0])
        case.check("open_clip's loss, relative to the formula", apart, 1e-5)
    rate, bandwidth = measure(case, calls, d, options)
    case.timed("specalign", "specalign")
    case.peer("the usual formula", "usual", "specalign", goal)
    case.peer(f"open_clip {other}", "other", "specalign", goal, missing=remark, note=remark)
    floors(case, rate, bandwidth, 8 * n**2 * d, 4 * 4 * n * d, share)


def info_nce_case(case, options, n, d, goal):
    usual = ops_peers.usual_info_nce
    loss_case(case, options, (n, d), ops.info_nce, usual, [14.3], "ClipLoss", goal=goal, share=70)


def small_info_nce_case(case, options, n, d):
    """Where the cost of a call counts: no figure to reach."""
    loss_case(case, options, (n, d), ops.info_nce, ops_peers.usual_info_nce, [14.3], "ClipLoss")


def sigmoid_loss_case(case, options, n, d):
    usual = ops_peers.usual_sigmoid_loss
    loss_case(case, options, (n, d), ops.sigmoid_loss, usual, [10.0, -10.0], "SigLipLoss")


def search_rows(kind, queries, gallery, columns):
    make = ops_peers.clustered_rows if kind == "clustered" else ops_peers.unit_rows
    queries, gallery = make(queries, columns, seed=10), make(gallery, columns, seed=20)
    if kind == "rising":  # nearly equal queries, and every row more similar to them than all before it
        queries = ops_peers.near_rows(queries[:1].expand_as(queries), 0.001, seed=11)
        gallery = gallery[(gallery @ queries[0]).argsort()]
    return queries, gallery


def check_neighbours(case, queries, gallery, found, wanted):
    """Identical lists, and for the others how far the float64 cosines of the two rows at one place lie apart."""
    case.add(
        "identical lists of neighbours", figure=100 * float((found == wanted).all(dim=1).double().mean()), unit="%"
    )
    row, place = (found != wanted).nonzero(as_tuple=True)
    cosine = [(queries[row].double() * gallery[index[row, place]].double()).sum(dim=1) for index in (found, wanted)]
    worst = float((cosine[0] - cosine[1]).abs().max()) if len(row) else 0.0
    case.check("cosines where the neighbours differ", worst, 1e-5)


def bare_product(queries, gallery):
    """A call that takes the products of blocks of the gallery and keeps none."""
    block = torch.empty(len(queries) * PRODUCT_ROWS)

    def call():
        for part in gallery.split(PRODUCT_ROWS):
            torch.mm(queries, part.T, out=block[: len(queries) * len(part)].view(len(queries), len(part)))

    return call


def topk_case(case, options, d, kind, goal, k=10):
    """The whole of the call, with its normalising, against the search alone in a built index of the same unit rows."""
    faiss, missing = ops_peers.optional_import("faiss")
    queries, gallery = search_rows(kind, rows(1000, options), rows(500_000, options), d)
    calls = {"specalign": lambda: ops.topk_similarity(queries, gallery, k)}
    found = calls["specalign"]()[1]
    if faiss:
        index = faiss.IndexFlatIP(d)
        index.add(gallery.numpy())
        calls["faiss"] = lambda: index.search(queries.numpy(), k)
        check_neighbours(case, queries, gallery, found, torch.from_numpy(calls["faiss"]()[1]))
    calls["product"] = bare_product(queries, gallery)
    rate, bandwidth = measure(case, calls, d, options)
    case.timed("specalign", "specalign")
    case.peer("faiss IndexFlatIP, the search alone", "faiss", "specalign", goal, missing)
    case.peer(f"the product alone, by {PRODUCT_ROWS} rows", "product", "specalign")
    size = 4 * d * (len(queries) + len(gallery)) + 12 * k * len(queries)
    floors(case, rate, bandwidth, 2 * len(queries) * len(gallery) * d, size)


def rank_inputs(number, d):
    queries = ops_peers.unit_rows(number, d, seed=30)
    match = torch.randperm(number, generator=torch.Generator().manual_seed(31))
    gallery = torch.empty_like(queries)
    gallery[match] = ops_peers.near_rows(queries, 0.7, seed=32)
    return queries, gallery, match


def argsort_ranks(queries, gallery, match):
    """The peer: product and `np.argsort` in blocks of rows, then where the match stands."""
    out = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), ARGSORT_ROWS):
        block = slice(start, start + ARGSORT_ROWS)
        order = np.argsort(-(queries[block] @ gallery.T), axis=1)
        out[block] = 1 + (order == match[block, None]).argmax(axis=1)
    return out


def match_rank_case(case, options, n=23_755, d=20):
    queries, gallery, match = rank_inputs(rows(n, options), d)
    arrays = [value.numpy() for value in (queries, gallery, match)]
    calls = {
        "specalign": lambda: ops.match_rank(queries, gallery, match),
        "argsort": lambda: argsort_ranks(*arrays),
    }
    apart = np.abs(calls["specalign"]().numpy() - calls["argsort"]())
    case.add("identical ranks", figure=100 * float((apart == 0).mean()), unit="%")
    case.check("ranks apart, by rounding of near ties", float(apart.max()), 3)
    rate, bandwidth = measure(case, calls, d, options)
    case.timed("specalign", "specalign")
    case.peer(f"product and np.argsort by {ARGSORT_ROWS} rows", "argsort", "specalign", 15)
    floors(case, rate, bandwidth, 2 * len(queries) ** 2 * d, 4 * d * 2 * len(queries) + 16 * len(queries))


def masked_inputs(n, m, pixels):
    """Noisy flux around 1, weights from 0.5 to 1.5, a fifth of the pixels without weight."""
    generator = torch.Generator().manual_seed(40)
    out = []
    for number in (n, m):
        weight = 0.5 + torch.rand(number, pixels, generator=generator)
        weight[torch.rand(number, pixels, generator=generator) < 0.2] = 0
        out += [1 + 0.3 * torch.randn(number, pixels, generator=generator), weight]
    return out


def pairs_by_sums(flux_x, weight_x, flux_y, weight_y, pairs):
    """The definition, a pair at a time."""
    out = np.empty(len(pairs), np.float32)
    for place, (i, j) in enumerate(pairs):
        weight = weight_x[i] * weight_y[j]
        power_x, power_y = (weight * flux_x[i] ** 2).sum(), (weight * flux_y[j] ** 2).sum()
        out[place] = (weight * flux_x[i] * flux_y[j]).sum() / np.sqrt(power_x * power_y)
    return out


def pairs_by_dots(flux_x, weight_x, flux_y, weight_y, pairs):
    """The same pairs with dot products for the sums, the fastest loop that NumPy allows."""
    out = np.empty(len(pairs), np.float32)
    for place, (i, j) in enumerate(pairs):
        weight, x, y = weight_x[i] * weight_y[j], flux_x[i], flux_y[j]
        product = weight * x
        out[place] = (product @ y) / math.sqrt((product @ x) * (weight @ (y * y)))
    return out


def masked_case(case, options, n=1000, m=20_000, pixels=2000):
    n, m = rows(n, options), rows(m, options)
    x, w, y, v = masked_inputs(n, m, pixels)
    arrays = [value.numpy() for value in (x, w, y, v)]
    pairs = np.random.default_rng(41).integers([n, m], size=(SAMPLED_PAIRS, 2))
    ones, more_ones = torch.ones_like(x), torch.ones_like(y)
    calls = {
        "specalign": lambda: ops.masked_similarity(x, w, y, v),
        "weights 1": lambda: ops.masked_similarity(x, ones, y, more_ones),
        "sums": lambda: pairs_by_sums(*arrays, pairs),
        "dots": lambda: pairs_by_dots(*arrays, pairs),
    }
    sample = calls["specalign"]().numpy()[*pairs.T]
    case.check("cosines, from the definition", float(np.abs(sample - calls["sums"]()).max()), 1e-5)
    case.check("cosines, from the loop with dots", float(np.abs(sample - calls["dots"]()).max()), 1e-5)
    learn, missing = ops_peers.optional_import("sklearn.metrics.pairwise")
    if learn:
        calls["dense"] = lambda: learn.cosine_similarity(arrays[0], arrays[2])
        apart = np.abs(calls["weights 1"]().numpy() - calls["dense"]()).max()
        case.check("cosines with weights 1, from scikit-learn", float(apart), 1e-5)
    rate, bandwidth = measure(case, calls, pixels, options)
    report_masked(case, n * m, missing)
    floors(case, rate, bandwidth, 6 * n * m * pixels, 8 * (n + m) * pixels + 4 * n * m)


def report_masked(case, number, missing):
    case.timed("specalign, masked", "specalign")
    case.timed("specalign, all weights 1", "weights 1")
    for name, goal in (("sums", 100), ("dots", None)):
        median = statistics.median(case.times[name])
        whole = median * number / SAMPLED_PAIRS
        ratio = whole / statistics.median(case.times["specalign"])
        note = f"EXTRAPOLATED from {SAMPLED_PAIRS} random pairs, {1e6 * median / SAMPLED_PAIRS:.3g} us a pair"
        what = f"the definition in a loop over pairs, {name}"
        case.add(what, seconds=whole, figure=ratio, unit="times as fast", goal=goal, note=note)
    if "dense" not in case.times:
        case.add("scikit-learn cosine_similarity", goal=4, sense="<=", note=f"not measured: {missing}")
        return
    dense = statistics.median(case.times["dense"])
    case.timed("scikit-learn cosine_similarity, no mask", "dense")
    for name, what in (("weights 1", "all weights 1, over dense"), ("specalign", "masked, over dense")):
        ratio = statistics.median(case.times[name]) / dense
        case.add(what, figure=ratio, unit="times as long", sense="<=", goal=4)


def loss_job(n, d):
    return ops_peers.with_gradients(ops.info_nce, *loss_leaves(n, d, 14.3))


def topk_job(queries, gallery, d):
    inputs = search_rows("random", queries, gallery, d)
    return functools.partial(ops.topk_similarity, *inputs, 10)


def rank_job(n, d):
    return functools.partial(ops.match_rank, *rank_inputs(n, d))


def masked_job(n, m, pixels):
    return functools.partial(ops.masked_similarity, *masked_inputs(n, m, pixels))


def memory_case(case, options, job, size, small, matrix, goal=None, sense="<="):
    """Megabytes are 10^6 bytes; ``matrix`` says which two numbers of the size a matrix of all pairs has."""
    size = [rows(number, options) if number > 2000 else number for number in size]
    pairs = 4 * size[matrix[0]] * size[matrix[1]]
    case.add("a float32 matrix of all pairs", figure=pairs / 1e6, unit="MB", note="computed, not measured")
    what = "peak above inputs and results"
    if not os.access("/proc/self/clear_refs", os.W_OK):
        case.add(what, goal=goal, sense=sense, note="not measured: needs /proc/self/clear_refs (Linux)")
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        peak, returned = pool.submit(ops_peers.measure_peak, job, size, small, options.threads).result()
    note = f"{peak / 1e6:.4g} MB above the moment before the call, less {returned / 1e6:.4g} MB that it returned"
    case.add(what, figure=(peak - returned) / 1e6, unit="MB", sense=sense, goal=goal, note=note)


def timing_cases():
    cases = {}
    for n, d, goal in ((8192, 128, 2.5), (16_384, 128, 4), (8192, 512, 1.25)):
        run = functools.partial(info_nce_case, n=n, d=d, goal=goal)
        cases[f"info_nce-{n}x{d}"] = (f"info_nce forward + backward, {n:,} x {d}", run)
    for n in (256, 640):
        run = functools.partial(small_info_nce_case, n=n, d=32)
        cases[f"info_nce-{n}x32"] = (f"info_nce forward + backward, {n} x 32 (small: beyond the figures to reach)", run)
    run = functools.partial(sigmoid_loss_case, n=8192, d=128)
    cases["sigmoid_loss-8192x128"] = ("sigmoid_loss forward + backward, 8,192 x 128 (beyond the figures to reach)", run)
    for d, goal in ((20, 1.5), (128, 0.9), (512, 0.85)):
        for kind in ("random", "clustered"):
            run = functools.partial(topk_case, d=d, kind=kind, goal=goal)
            cases[f"topk-{d}-{kind}"] = (f"topk_similarity, k 10, 1,000 in 500,000 {kind} rows, D {d}", run)
    run = functools.partial(topk_case, d=128, kind="rising", goal=None)
    cases["topk-128-rising"] = ("topk_similarity, k 10, 1,000 in 500,000 rows, the most similar last, D 128", run)
    cases["match_rank"] = ("match_rank, 23,755 in 23,755, D 20", match_rank_case)
    cases["masked_similarity"] = ("masked_similarity, 1,000 x 20,000 x 2,000 pixels", masked_case)
    return cases


def memory_cases():
    pixels, whole = "1,000 x 20,000 x 2,000 pixels", (0, 1)
    jobs = {
        "info_nce": ("32,768 x 128", loss_job, (32_768, 128), (256, 128), (0, 0), 64, "<="),
        "match_rank": ("23,755 in 23,755, D 20", rank_job, (23_755, 20), (256, 20), (0, 0), 100, "<"),
        "topk": ("1,000 in 500,000, D 128", topk_job, (1000, 500_000, 128), (16, 256, 128), whole, None, "<="),
        "masked_similarity": (pixels, masked_job, (1000, 20_000, 2000), (16, 64, 2000), whole, None, "<="),
    }
    cases = {}
    for name, (text, *arguments) in jobs.items():
        job = dict(zip(("job", "size", "small", "matrix", "goal", "sense"), arguments, strict=True))
        cases[f"memory-{name}"] = (f"memory of {name}, {text}", functools.partial(memory_case, **job))
    return cases


def describe(options, machine):
    """What the figures depend on besides the program."""
    about = {
        "processor": f"{machine['processor']}, {machine['cores']} cores",
        "threads": ops_peers.set_threads(options.threads),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        "load before the run": machine["load"],
        "repeats": options.repeats,
        "products of the tiles": "torch's BLAS alone" if options.blas else "oneDNN where it serves",
    }
    if about["OMP_WAIT_POLICY"].upper() == "ACTIVE":
        about["warning"] = "OMP_WAIT_POLICY=ACTIVE: idle threads of one library take the cores from the next"
    return about


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of torch, faiss, NumPy and scikit-learn alike")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which all contenders take their turn")
    parser.add_argument("--only", default="", metavar="NAME", help="the cases that have this in their name")
    parser.add_argument("--json", metavar="PATH", help="write every figure and every single time to this file")
    parser.add_argument("--blas", action="store_true", help="let the project's tiles call torch's BLAS alone")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the program")
    add_store_option(parser)
    options = parser.parse_args()
    ops_peers.check_store(parser, options, parts=options.blas)
    machine = facts(*PACKAGES)
    if options.blas:
        products._onednn_works = lambda: False
    cases = timing_cases() | memory_cases()
    if not any(options.only in name for name in cases):
        parser.error(f"--only: expected a part of one of {', '.join(cases)}, got {options.only!r}")
    row = {"name": "ops-blas" if options.blas else "ops", "facts": machine, "threads": options.threads}
    return ops_peers.run(cases, describe(options, machine), options, row)


if __name__ == "__main__":
    raise SystemExit(main())
