"""The similarity ops on a CUDA GPU, in one call; needs torch and triton alone, and no installed package.

    python benchmarks/bench_ops_cuda.py [--repeats 7] [--only info_nce] [--json out.json] [--quick] [--store]

Every case first compares the Triton kernels on small sizes with the reference in float64, and is not timed where a
number is wrong.  Then the project, its peers, a copy and bare matrix products take turns, timed by CUDA events after
warming up; printed are medians, ratios of medians, and two floors: operations over the measured matrix-product rate
of the type in use (the largest of several products) and bytes (inputs read once, results written once) over the
measured copy bandwidth.  The kernel of the ``inf_cl`` package is a peer where it can be imported.
"""

import argparse
import functools
import math
import pathlib
import statistics
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import ops_peers
from performance_rows import add_store_option, facts

from specalign import ops

DEVICE = "cuda"
BACKEND = "triton"
SHRINK = 64  # what --quick divides the number of rows by
BLOCK = 131_072  # rows of the gallery whose similarities the peers of the searches hold
HALF = torch.bfloat16


def rows(number, options):
    return max(256, number // SHRINK) if options.quick else number


def event_clock(call):
    """Seconds of a call on the device."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    result = call()
    stop.record()
    torch.cuda.synchronize()
    del result
    return start.elapsed_time(stop) / 1000


def peak_memory(call):
    """Bytes that the allocator handed out at most during a call, above what was held before it and what it returned."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    torch.cuda.synchronize()
    returned = sum(value.nbytes for value in (result if isinstance(result, tuple) else [result]))
    return torch.cuda.max_memory_allocated() - before - returned


def warmed(calls, project="specalign"):
    """The calls that run, twice each, and for the others why they do not; the project's own failure is raised."""
    running, missing = {}, {}
    for name, call in calls.items():
        try:
            call()
            call()
            running[name] = call
        except Exception as error:
            if name == project:
                raise
            missing[name] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        torch.cuda.empty_cache()
    return running, missing


def yardsticks(dtype, options):
    """Square products of two sizes and a copy, each with its operations or bytes."""
    sticks = {}
    for side in (512,) if options.quick else (8192, 16_384):
        a, b = (ops_peers.unit_rows(side, side, seed, DEVICE, dtype) for seed in range(2))
        out = torch.empty_like(a)
        sticks[f"torch.mm {side}^3"] = functools.partial(torch.mm, a, b, out=out), 2 * side**3
    source = torch.ones(2**20 if options.quick else 2**28, device=DEVICE)
    target = torch.empty_like(source)
    return sticks | {"copy": (functools.partial(target.copy_, source), 2 * source.nbytes)}


def measure(case, calls, dtype, options):
    """Rate, bandwidth and the peers that are missing."""
    running, missing = warmed(calls)
    sticks = yardsticks(dtype, options)
    return *ops_peers.measure(case, running, sticks, options.repeats, event_clock), missing


def floors(case, rate, bandwidth, operations, size, goal=None):
    case.floor("operations, at the product's rate", operations, rate, "specalign", goal, note=" of torch.mm")
    case.floor("bytes, at the copy's bandwidth", size, bandwidth, "specalign", note=" of a copy")


def only_if_right(case):
    if case.wrong:
        raise RuntimeError("not timed, since a number is wrong")


def loss_inputs(n, m, d, dtype, scale=20.0):
    """Leaves: rows, near rows (the first m or more of them) and the scale."""
    x = ops_peers.unit_rows(max(n, m), d, 1, DEVICE, dtype)
    y = ops_peers.near_rows(x, 2.0, 2)
    leaves = x[:n].clone(), y[:m].clone(), torch.tensor(scale, device=DEVICE)
    return [value.requires_grad_() for value in leaves]


def check_info_nce(case):
    """Without groups and with, rectangular, at ragged sizes."""
    for dtype, limit in ((HALF, 1e-2), (torch.float32, 1e-4)):
        for n, m, d, grouped in ((1030, 1030, 100, False), (300, 1030, 512, True), (1, 1, 3, False)):
            leaves = loss_inputs(n, m, d, dtype)
            groups = [torch.arange(number, device=DEVICE) % 250 for number in (n, m)] if grouped else [None, None]
            value = ops_peers.with_gradients(lambda *a, g=groups: ops.info_nce(*a, *g, backend=BACKEND), *leaves)()
            exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
            wanted = ops_peers.with_gradients(lambda *a, g=groups: ops.info_nce(*a, *g, backend="reference"), *exact)()
            what = f"{str(dtype).removeprefix('torch.')} {n} x {m} x {d}{' in groups' if grouped else ''}"
            check_loss(case, what, value, wanted, limit)
    only_if_right(case)


def check_loss(case, what, value, wanted, limit):
    if float(wanted[0]) == 0:
        case.check(f"loss, {what}", max(float(part.double().abs().max()) for part in value), 1e-6)
        return
    case.check(f"loss, {what}", ops_peers.relative_error(value[0], wanted[0]), 1e-5)
    errors = [ops_peers.relative_error(a, b) for a, b in zip(value[1:], wanted[1:], strict=True)]
    case.check(f"gradients, {what}", math.nan if any(map(math.isnan, errors)) else max(errors), limit)


def exact_rows(number, seed, d=64):
    """Unit rows of +-1/8: their cosines are exact in every type, and many tie."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    signs = torch.randint(2, (number, d), generator=generator, device=DEVICE)
    return ((2 * signs - 1) / 8).to(HALF)


def check_topk(case, k=10):
    queries, gallery = exact_rows(130, 1), exact_rows(5001, 2)
    found = ops.topk_similarity(queries, gallery, k, backend=BACKEND)[1]
    wanted = ops.topk_similarity(queries, gallery, k, backend="reference")[1]
    case.check("indices that differ where products are exact", float((found != wanted).double().sum()), 0)
    queries, gallery = (ops_peers.unit_rows(n, 100, n, DEVICE, HALF) for n in (130, 5001))
    values, found = ops.topk_similarity(queries, gallery, k, backend=BACKEND)
    wanted = ops.topk_similarity(queries.double(), gallery.double(), k, backend="reference")[0]
    cosine = torch.nn.functional.cosine_similarity(queries.double()[:, None], gallery.double()[found], dim=2)
    case.check("cosines of the neighbours", float((cosine - wanted).abs().max()), 1e-5)
    case.check("cosines returned", float((values - cosine).abs().max()), 1e-5)
    only_if_right(case)


def rank_inputs(number, gallery_rows, d):
    """Queries, a gallery, and for every query a match that lies near it."""
    gallery = ops_peers.unit_rows(gallery_rows, d, 4, DEVICE, HALF)
    generator = torch.Generator(DEVICE).manual_seed(5)
    match = torch.randint(gallery_rows, (number,), generator=generator, device=DEVICE)
    return ops_peers.near_rows(gallery[match], 2.0, 6), gallery, match


def check_match_rank(case):
    queries, gallery = exact_rows(130, 1), exact_rows(5001, 2)
    match = torch.arange(130, device=DEVICE) * 38 - 1
    found = ops.match_rank(queries, gallery, match, backend=BACKEND)
    wanted = ops.match_rank(queries, gallery, match, backend="reference")
    case.check("ranks that differ where products are exact", float((found != wanted).double().sum()), 0)
    queries, gallery, match = rank_inputs(1000, 5001, 100)
    found = ops.match_rank(queries, gallery, match, backend=BACKEND)
    wanted = ops.match_rank(queries.double(), gallery.double(), match, backend="reference")
    case.check("share of other ranks, by rounding of near ties", float((found != wanted).double().mean()), 0.01)
    only_if_right(case)


def masked_inputs(n, m, pixels, dtype):
    """Noisy flux around 1, weights from 0.5 to 1.5, a fifth of the pixels without weight."""
    generator = torch.Generator(DEVICE).manual_seed(7)
    out = []
    for number in (n, m):
        flux = 1 + 0.3 * torch.randn(number, pixels, generator=generator, device=DEVICE)
        weight = 0.5 + torch.rand(number, pixels, generator=generator, device=DEVICE)
        weight[torch.rand(number, pixels, generator=generator, device=DEVICE) < 0.2] = 0
        out += [flux.to(dtype), weight.to(dtype)]
    return out


def check_masked(case, dtype):
    inputs = masked_inputs(130, 257, 1001, dtype)
    found = ops.masked_similarity(*inputs, backend=BACKEND)
    wanted = ops.masked_similarity(*(value.double() for value in inputs), backend="reference")
    limit = 1e-2 if dtype == HALF else 1e-5
    case.check("cosines, from the definition", float((found - wanted).abs().max()), limit)
    only_if_right(case)


def info_nce_case(case, options, n, d, share=None, fits=False):
    check_info_nce(case)
    n = rows(n, options)
    leaves = loss_inputs(n, n, d, HALF)
    kernel, remark = ops_peers.inf_cl_loss()
    losses = {"specalign": functools.partial(ops.info_nce, backend=BACKEND), "usual": ops_peers.usual_info_nce}
    losses |= {"inf_cl": kernel} if kernel else {}
    calls = {name: ops_peers.with_gradients(loss, *leaves) for name, loss in losses.items()}
    rate, bandwidth, missing = measure(case, calls, HALF, options)
    case.timed("specalign", "specalign")
    case.peer("the usual formula", "usual", "specalign", missing=missing.get("usual", ""))
    case.peer("inf_cl", "inf_cl", "specalign", 1, missing=missing.get("inf_cl", remark), note=remark)
    if "inf_cl" in case.times:
        apart = ops_peers.relative_error(calls["inf_cl"]()[0], calls["specalign"]()[0])
        case.add("inf_cl's loss, relative to the project's", figure=apart)
    floors(case, rate, bandwidth, 8 * n**2 * d, 4 * 2 * n * d, share)
    report_memory(case, calls["specalign"], fits)


def report_memory(case, call, fits=False):
    """Whoever gets here did not run out of memory; where that is the goal, what the device has stands as its figure."""
    have = round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1)
    figure, goal = peak_memory(call) / 1e9, have if fits else None
    note = f"of {have:g} GB"
    case.add("peak above inputs and results", figure=figure, unit="GB", sense="<=", goal=goal, note=note)


def product_by_blocks(queries, gallery, use):
    """A call that hands the product of every block of the gallery to ``use`` and gives back what it returns."""
    block = torch.empty(len(queries) * min(BLOCK, len(gallery)), device=DEVICE, dtype=queries.dtype)

    def call():
        found = []
        for part in gallery.split(BLOCK):
            out = block[: len(queries) * len(part)].view(len(queries), len(part))
            found.append(use(torch.mm(queries, part.T, out=out)))
        return found

    return call


def topk_case(case, options, k=10, d=128):
    check_topk(case)
    queries = ops_peers.unit_rows(rows(10_000, options), d, 1, DEVICE, HALF)
    gallery = ops_peers.unit_rows(rows(10_000_000, options), d, 2, DEVICE, HALF)
    calls = {
        "specalign": lambda: ops.topk_similarity(queries, gallery, k, backend=BACKEND),
        "product": product_by_blocks(queries, gallery, lambda block: None),
        "topk": product_by_blocks(queries, gallery, lambda block: torch.topk(block, k, dim=1)),
    }
    rate, bandwidth, missing = measure(case, calls, HALF, options)
    case.timed("specalign", "specalign")
    case.peer(f"product and torch.topk by {BLOCK:,} rows", "topk", "specalign", missing=missing.get("topk", ""))
    size = 2 * d * (len(queries) + len(gallery)) + 12 * k * len(queries)
    report_product(case, missing, 60)
    floors(case, rate, bandwidth, 2 * len(queries) * len(gallery) * d, size, 60)
    report_memory(case, calls["specalign"])


def report_product(case, missing, goal=None):
    """The share of the rate that the bare product of the same rows reaches, which stores what it computes."""
    what = "the rate of this product by torch.mm in blocks"
    if "product" in missing:
        case.add(what, goal=goal, note=f"not measured: {missing['product']}")
        return
    share = 100 * statistics.median(case.times["product"]) / statistics.median(case.times["specalign"])
    case.timed(what, "product", figure=share, unit="% of it reached", goal=goal)


def match_rank_case(case, options, d=128):
    check_match_rank(case)
    queries, gallery, match = rank_inputs(rows(100_000, options), rows(1_000_000, options), d)
    few = queries[: len(queries) // 8]
    calls = {
        "specalign": lambda: ops.match_rank(queries, gallery, match, backend=BACKEND),
        "product": lambda: [product_by_blocks(part, gallery, lambda block: None)() for part in queries.split(len(few))],
    }
    rate, bandwidth, missing = measure(case, calls, HALF, options)
    case.timed("specalign", "specalign")
    report_product(case, missing)
    size = 2 * d * (len(queries) + len(gallery)) + 16 * len(queries)
    floors(case, rate, bandwidth, 2 * len(queries) * len(gallery) * d, size)
    report_memory(case, calls["specalign"])


def masked_case(case, options, dtype, n=4096, m=65_536, pixels=2000):
    check_masked(case, dtype)
    n, m = rows(n, options), rows(m, options)
    x, w, y, v = masked_inputs(n, m, pixels, dtype)
    calls = {
        "specalign": lambda: ops.masked_similarity(x, w, y, v, backend=BACKEND),
        "dense": lambda: x @ y.T,
    }
    rate, bandwidth, missing = measure(case, calls, dtype, options)
    case.timed("specalign", "specalign")
    case.peer("one dense product", "dense", "specalign", missing=missing.get("dense", ""))
    floors(case, rate, bandwidth, 6 * n * m * pixels, 2 * x.element_size() * (n + m) * pixels + 4 * n * m)
    report_memory(case, calls["specalign"])


def all_cases():
    cases = {}
    for n, d, share, fits in ((32_768, 512, None, False), (65_536, 512, 50, False), (262_144, 256, None, True)):
        run = functools.partial(info_nce_case, n=n, d=d, share=share, fits=fits)
        cases[f"info_nce-{n}x{d}"] = (f"info_nce forward + backward, bfloat16, {n:,} x {d}", run)
    cases["topk"] = ("topk_similarity, k 10, bfloat16, 10,000 in 10,000,000 x 128", topk_case)
    cases["match_rank"] = ("match_rank, bfloat16, 100,000 in 1,000,000 x 128", match_rank_case)
    for name, dtype in (("bfloat16", HALF), ("float32", torch.float32)):
        title = f"masked_similarity, {name}, 4,096 x 65,536 x 2,000 pixels"
        cases[f"masked_similarity-{name}"] = (title, functools.partial(masked_case, dtype=dtype))
    return cases


def machine_facts():
    """Those of every program, the device and CUDA."""
    properties = torch.cuda.get_device_properties(0)
    machine = facts("torch", "triton", "inf_cl")
    machine["versions"]["CUDA"] = torch.version.cuda
    memory = f"{properties.total_memory / 1e9:.4g} GB"
    return machine | {"device": f"{properties.name}, {memory}, {properties.multi_processor_count} SM"}


def describe(options, machine):
    """What the figures depend on besides the program."""
    return {
        "device": machine["device"],
        "versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        "TF32 in torch.mm": torch.backends.cuda.matmul.allow_tf32,
        "repeats": options.repeats,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="rounds in which all contenders take their turn")
    parser.add_argument("--only", default="", metavar="NAME", help="the cases that have this in their name")
    parser.add_argument("--json", metavar="PATH", help="write every figure and every single time to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the program")
    add_store_option(parser)
    options = parser.parse_args()
    ops_peers.check_store(parser, options)
    if not torch.cuda.is_available():
        print(f"bench_ops_cuda: no CUDA device (torch {torch.__version__}); nothing was measured", file=sys.stderr)
        return 1
    cases = all_cases()
    if not any(options.only in name for name in cases):
        parser.error(f"--only: expected a part of one of {', '.join(cases)}, got {options.only!r}")
    machine = machine_facts()
    return ops_peers.run(cases, describe(options, machine), options, {"name": "ops-cuda", "facts": machine})


if __name__ == "__main__":
    raise SystemExit(main())
