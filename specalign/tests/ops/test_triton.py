"""Whether the kernels compile for a Hopper GPU, which needs none; what they compute is tested beside this.

The interpreter takes much that the compiler refuses.  The functions run on the CPU with launches that compile only.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

# not imported here, where it would not be interpreted in the tests that come after
if importlib.util.find_spec("triton") is None:
    pytest.skip("needs triton", allow_module_level=True)

TYPES = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
SHAPES = {"even": (256, 1024, 128), "ragged": (100, 70, 20), "wide": (128, 256, 512), "one": (1, 1, 1)}


def compile_only(kernel, programs, device, blocks, *args, **constants):
    """Stands in for a launch: compile the kernel for what it would be called with."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, fixed, attributes = {}, {}, {}
    given = dict(zip(kernel.arg_names, args, strict=False)) | constants
    assert sorted(given) == sorted(kernel.arg_names)
    for i, name in enumerate(kernel.arg_names):
        value = given[name]
        if name in constants or value is None or (isinstance(value, int) and value == 1):
            signature[name], fixed[i,] = "constexpr", value
            continue
        signature[name] = TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32"
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            attributes[i,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, fixed, attributes)
    options = {"num_warps": blocks.warps, "num_stages": blocks.stages, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    print(kernel.__name__, "wgmma" if "wgmma" in compiled.asm["ptx"] else "")


def compile_all(dtype, rows, cols, width, every):
    """Call every function once, with every candidate of block sizes or with the first."""
    from specalign.ops._triton import contrastive, overlap, products, ranks, search

    products.run = compile_only
    x, y = torch.ones(rows, width, dtype=dtype), torch.ones(cols, width, dtype=dtype)
    acc = products.accumulation_dtype(dtype)
    scale, one = torch.ones((), dtype=acc), torch.ones(max(rows, cols), dtype=torch.float64)
    vectors = [one[:rows]] * 3 + [one[:cols]] * 3
    match = torch.zeros(rows, dtype=torch.int64)
    groups = torch.arange(rows), torch.arange(cols)
    best = search.Best(torch.zeros(rows, 1, dtype=acc), torch.zeros(rows, 1, dtype=torch.int64))
    for pair in (groups, (None, None)):
        for _ in _candidates(contrastive.CANDIDATES[dtype], products, every):
            contrastive.negatives(x, y, scale, *pair)
            contrastive.weights(x, y, scale, *pair, *vectors)
            contrastive.sigmoid_sum(x, y, scale, scale, *pair)
            contrastive.sigmoid_weights(x, y, scale, scale, *pair)
    for blocks in _candidates(search.CANDIDATES[dtype], products, every):
        queries = search.Queries(*search.rows.prepare(x), torch.zeros(rows, dtype=torch.bool))
        chunk = search.Chunk(*search.rows.prepare(y), 0, blocks.cols)
        search._maxima(queries, chunk, blocks)
        search._list(queries, chunk, best, blocks)
        search._rescore(queries, chunk, torch.zeros(rows, 2, dtype=torch.int32), search._worst(best), 64)
    for _ in _candidates(ranks.CANDIDATES[acc], products, every):
        search.match_rank(x, y, match)
    for _ in _candidates(overlap.CANDIDATES[acc], products, every):
        overlap.masked_similarity(x, x, y, y)


def _candidates(candidates, products, every):
    for products.FORCED in candidates if every else candidates[:1]:
        yield products.FORCED


def compile_elsewhere(dtype, shape, every, folder):
    """Names of the kernels that were compiled, in a process in which triton is not interpreted."""
    call = f"compile_all(torch.{dtype}, *{SHAPES[shape]}, every={every})"
    code = f"import torch\nfrom specalign.tests.ops.test_triton import compile_all\n{call}"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(folder)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=1200)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


KERNELS = {
    *("negatives", "weights", "shares", "sigmoid_sum", "sigmoid_weights"),
    *("_group_maxima", "_cosines", "_ranks", "_diagonal", "_overlap"),
}


@pytest.mark.slow
def test_kernels_compile_for_hopper(tmp_path):
    found = compile_elsewhere("bfloat16", "even", False, tmp_path)
    assert {line.split()[0] for line in found if line} == KERNELS
    assert {line.split()[0] for line in found if line.endswith("wgmma")} == {
        *("negatives", "weights", "shares", "sigmoid_sum", "sigmoid_weights", "_group_maxima")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "shape", "every"),
    [
        ("bfloat16", "even", True),
        ("float32", "ragged", True),
        ("float16", "wide", False),
        ("float64", "ragged", False),
        ("bfloat16", "one", False),
    ],
)
def test_block_sizes_compile_for_hopper(dtype, shape, every, tmp_path):
    """Every block size of the two types that are used most, and the first one of the others."""
    found = compile_elsewhere(dtype, shape, every, tmp_path)
    assert {line.split()[0] for line in found if line} == KERNELS
