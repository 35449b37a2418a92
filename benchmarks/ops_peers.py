"""What the two benchmarks of `specalign.ops` share: inputs from a seed, the peers, interleaved timing, the report.

At import this needs torch alone; every other peer is imported when it is asked for, and said to be missing if it is.
"""

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import importlib.util
import json
import operator
import pathlib
import statistics
import time

import torch
from performance_rows import store_row
from torch.nn import functional

SENSES = {">=": operator.ge, "<=": operator.le, "<": operator.lt}
QUICK_BANNER = "QUICK: small sizes, to try the program. THE FIGURES OF THIS RUN MEAN NOTHING."
OWN_PRODUCTS = "the products as the project's tiles make them"
CHUNK_ROWS = 2**20  # made at a time, so that large inputs need little more than their own memory


def unit_rows(rows, columns, seed, device="cpu", dtype=torch.float32):
    """Random directions: unit rows of normal numbers."""
    generator = torch.Generator(device).manual_seed(seed)
    out = torch.empty(rows, columns, device=device, dtype=dtype)
    for part in out.split(CHUNK_ROWS):
        part.copy_(functional.normalize(torch.randn(part.shape, generator=generator, device=device), dim=1))
    return out


def near_rows(x, scatter, seed):
    """Unit rows near the given ones: ``scatter`` is the length of what is added to a unit row, about."""
    noise = unit_rows(*x.shape, seed, x.device)
    return functional.normalize(x.float() + scatter * noise, dim=1).to(x.dtype)


def clustered_rows(rows, columns, seed, centres=500, scatter=0.1):
    """A mixture of tight clusters in random order; all calls of one width share the centres."""
    member = torch.randint(centres, (rows,), generator=torch.Generator().manual_seed(seed))
    return near_rows(unit_rows(centres, columns, seed=0)[member], scatter, seed + 1)


def usual_info_nce(x, y, logit_scale):
    """The usual formula: all logits stored, the mean of two cross-entropies in float32."""
    logits = (logit_scale * x @ y.T).float()
    labels = torch.arange(len(x), device=x.device)
    return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2


def usual_sigmoid_loss(x, y, logit_scale, logit_bias):
    """The usual formula of SigLIP: all logits and all signs stored, the sum over pairs divided by the rows."""
    logits = logit_scale * x @ y.T + logit_bias
    signs = 2 * torch.eye(len(x), device=x.device, dtype=x.dtype) - 1
    return -functional.logsigmoid(signs * logits).sum() / len(x)


def with_gradients(loss, *leaves):
    """A call of forward and backward that returns the loss and the gradient of every leaf."""

    def call():
        value = loss(*leaves)
        return value.detach(), *torch.autograd.grad(value, leaves)

    return call


def optional_import(name):
    """A module and None, or None and why it is missing."""
    try:
        return importlib.import_module(name), None
    except Exception as error:  # a broken installation of a peer raises anything, and is a missing peer
        return None, f"{name} is missing: {type(error).__name__}: {error}"


def open_clip_loss():
    """`open_clip.loss`, and a remark; the file alone where the package's other needs (torchvision) are missing."""
    module, missing = optional_import("open_clip.loss")
    if module is not None:
        return module, ""
    try:
        folder = importlib.util.find_spec("open_clip").submodule_search_locations[0]
        spec = importlib.util.spec_from_file_location("open_clip_loss", pathlib.Path(folder) / "loss.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception:
        return None, missing
    return module, f"its file loss.py alone, since {missing}"


def inf_cl_loss():
    """Both directions by the kernel of ``inf_cl``, and a remark.

    The scale multiplies the rows here, because the package's own scaling calls torch.distributed on the way back;
    without a process group its ring is one step of the kernel.
    """
    module, missing = optional_import("inf_cl")
    if module is None:
        return None, missing

    def loss(x, y, logit_scale):
        width = min(x.shape[1], 256)
        forth = module.cal_inf_loss(logit_scale * x.float(), y.float(), head_dim=width)
        return (forth + module.cal_inf_loss(logit_scale * y.float(), x.float(), head_dim=width)) / 2

    return loss, "it works in float32 whatever comes"


def interleaved(contenders, repeats, clock):
    """Seconds of every contender; they take turns, and each round starts with another one."""
    times = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(repeats):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(clock(contenders[name]))
    return times


def set_threads(number):
    """The same number for torch, faiss, and the matrix libraries of NumPy and scikit-learn; says what it reached."""
    torch.set_num_threads(number)
    faiss, _ = optional_import("faiss")
    if faiss:
        faiss.omp_set_num_threads(number)
    control, missing = optional_import("threadpoolctl")
    if control is None:
        return f"torch {torch.get_num_threads()}, NumPy as the environment says ({missing})"
    control.threadpool_limits(number)
    pools = [
        f"{pool['prefix']} {pool['num_threads']} ({pathlib.Path(pool['filepath']).parent.name})"
        for pool in control.threadpool_info()
    ]
    return f"torch {torch.get_num_threads()}, " + ", ".join(pools)


def wall_clock(call):
    """Seconds of a call; what it returns is dropped after the clock has stopped."""
    gc.collect()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    del result
    return seconds


def resident(key):
    """Bytes of VmRSS (now) or VmHWM (the most since the mark was reset) of this process."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")


def measure_peak(job, size, small, threads):
    """Peak resident bytes of a call above what was there just before it, and the bytes that it returned.

    To run in a fresh process.  There just before: the interpreter, the libraries with the buffers and threads that a
    matrix product of 2048^3 and the call at a small size left, and the inputs.  Memory that was freed is given back
    to the system first, so that the call cannot hide in it.
    """
    set_threads(threads)
    torch.mm(torch.ones(2048, 2048), torch.ones(2048, 2048))
    job(*small)()
    call = job(*size)
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = call()
    return resident("VmHWM") - before, sum(
        value.nbytes for value in (result if isinstance(result, tuple) else [result])
    )


def measure(case, contenders, sticks, repeats, clock):
    """Time contenders and yardsticks in turns; return operations a second and bytes a second.

    ``sticks`` are pairs of a call and its operations, or bytes for the one called "copy".  Of several products, the
    one with the highest rate counts; all rates stay with the case.
    """
    calls = contenders | {name: call for name, (call, _) in sticks.items()}
    for call, _ in sticks.values():
        call()
    case.times = interleaved(calls, repeats, clock)
    rates = {name: amount / statistics.median(case.times[name]) for name, (_, amount) in sticks.items()}
    bandwidth, own = rates.pop("copy"), rates.pop(OWN_PRODUCTS, None)
    case.rates = {"product": max(rates.values()), "own products": own, "copy": bandwidth}
    return case.rates["product"], bandwidth


def relative_error(value, wanted):
    """Length of the difference over that of the wanted; NaN stays NaN."""
    value, wanted = value.double(), wanted.double()
    return float(torch.linalg.vector_norm(value - wanted) / torch.linalg.vector_norm(wanted).clamp(min=1e-300))


@dataclasses.dataclass
class Line:
    """One line of the table: seconds, a figure, what it should reach, and a remark."""

    what: str
    seconds: float | None = None
    figure: float | None = None
    unit: str = ""
    sense: str = ">="
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self):
        if self.goal is None:
            return ""
        if self.figure is None:
            return "NOT MEASURED"
        return "reached" if SENSES[self.sense](self.figure, self.goal) else "NOT REACHED"

    def __str__(self):
        seconds = "" if self.seconds is None else f"{self.seconds:.4g} s"
        figure = "" if self.figure is None else f"{self.figure:.3g} {self.unit}"
        goal = "" if self.goal is None else f"{self.sense} {self.goal:g}"
        row = f"  {self.what:50s}{seconds:>12s}  {figure:22s}{goal:9s}{self.verdict:14s}{self.note}"
        return row.rstrip()


class Case:
    """One size of one op: its lines, and what was wrong with its numbers.

    Parameters
    ----------
    name, title : str
    """

    def __init__(self, name, title):
        self.name, self.title, self.lines, self.wrong, self.times = name, title, [], [], {}
        self.rates = {}

    def add(self, what, **columns):
        self.lines.append(Line(what, **columns))

    def timed(self, what, name, **columns):
        """A line with the median of a contender; the range goes into the remark."""
        times = self.times[name]
        spread = f"from {min(times):.4g} to {max(times):.4g} s"
        note = "; ".join(part for part in (spread, columns.pop("note", "")) if part)
        self.add(what, seconds=statistics.median(times), note=note, **columns)

    def peer(self, what, name, project, goal=None, missing="", note=""):
        """How many times as fast the project is as a peer, which may be missing."""
        if name not in self.times:
            self.add(what, goal=goal, note=f"not measured: {missing}")
            return
        ratio = statistics.median(self.times[name]) / statistics.median(self.times[project])
        self.timed(what, name, figure=ratio, unit="times as fast", goal=goal, note=note)

    def floor(self, what, amount, rate, project, goal=None, note=""):
        """A floor (an amount over a measured rate), and which share of the project's time it is."""
        seconds = amount / rate
        share = 100 * seconds / statistics.median(self.times[project])
        text = f"floor: {amount / 1e9:.4g} G at {rate / 1e9:.4g} G/s{note}"
        self.add(what, seconds=seconds, figure=share, unit="% of the time", goal=goal, note=text)

    def check(self, what, value, limit):
        """A number that must be below a limit; NaN is not."""
        good = value <= limit
        self.add(f"check: {what}", figure=value, note=f"at most {limit:g}" + ("" if good else "  WRONG"))
        if not good:
            self.wrong.append(f"{what}: {value:.3g}, at most {limit:g}")

    def record(self):
        lines = [dataclasses.asdict(line) | {"verdict": line.verdict} for line in self.lines]
        return {
            "name": self.name,
            "title": self.title,
            "lines": lines,
            "wrong": self.wrong,
            "times": self.times,
            "rates": self.rates,
        }

    def __str__(self):
        return "\n".join([f"{self.title}  [{self.name}]", *map(str, self.lines)])


def run_case(name, title, call, options):
    """Run and print a case; one that fails does not take the others along."""
    case = Case(name, title + ("  [QUICK: smaller]" if options.quick else ""))
    try:
        call(case, options)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"[:500]
        case.wrong.append(f"FAILED: {text}")
        case.add("FAILED", note=text)
    print(case, end="\n\n", flush=True)
    return case


def print_goals(cases):
    for case in cases:
        for line in case.lines:
            if line.goal is not None:
                figure = "-" if line.figure is None else f"{line.figure:.3g}"
                print(f"  {line.verdict:14s}{figure:>8s} {line.sense:2s} {line.goal:<6g}{case.name}: {line.what}")
        for text in case.wrong:
            print(f"  WRONG  {case.name}: {text}")


def run(cases, about, options, row):
    """Run the cases that are wanted, print, write the files; 1 where a number was wrong or a case failed.

    ``row`` is what ``--store`` keeps beside the cases: its name, the facts of the machine and the settings.
    """
    banner = [QUICK_BANNER] if options.quick else []
    print(*banner, *(f"{key}: {value}" for key, value in about.items()), sep="\n", end="\n\n")
    wanted = {name: case for name, case in cases.items() if options.only in name}
    done = [run_case(name, title, call, options) for name, (title, call) in wanted.items()]
    print("Figures to reach", *banner, sep="\n")
    print_goals(done)
    if options.json:
        record = {"quick": options.quick, "about": about, "cases": [case.record() for case in done]}
        pathlib.Path(options.json).write_text(json.dumps(record, indent=1) + "\n")
    if options.store:
        cases = {case.name: case.record() for case in done}
        store_row(options.store, row.pop("name"), row | {"repeats": options.repeats, "cases": cases})
    return 1 if any(case.wrong for case in done) else 0


def check_store(parser, options, parts=False):
    """Refuse ``--store`` for small sizes, and for some of the cases where the page shows all of them."""
    if options.store and (options.quick or (options.only and not parts)):
        parser.error("--store: expected all cases at full size, got --quick or --only; leave one of them out")
