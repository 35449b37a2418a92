"""How well outliers are found: five kinds planted in the mock survey, and real spectra that are known to be unusual.

Each kind and seed is a row of its own, stored as JSON; the kinds of a seed share one survey and its trainings::

    python benchmarks/bench_outliers.py --seed 5 --stars 20000
    python benchmarks/bench_outliers.py --seed 5 --stars 3000 --rows real

Each kind is 1 % of the stars that are trained on, among which nobody knows them. The normal stars that calibrate are
held out, and so are the test stars, of which each kind is 5 %, weighted to 1 %.
"""

import json
import time

from accuracy_store import code_digest
from bench_results import parser_of, plain
from outliers_real import real_row
from outliers_study import KIND_ROWS
from survey_data import SETTINGS

from specalign.io.files import atomic_write

ROWS = {**KIND_ROWS, "real": real_row}


def path_of(folder, row, options):
    """Where a row is stored."""
    pair = "-".join(options.instruments) + "-" if row in KIND_ROWS else ""
    return folder / f"outliers-{row}-{pair}seed{options.seed}-stars{options.stars}.json"


def run(options):
    """Run the rows that are not stored, one JSON file each, and print them."""
    for row in options.rows:
        path = path_of(options.store, row, options)
        if options.again or not path.exists():
            start, code = time.perf_counter(), code_digest()
            result = plain(ROWS[row](options.shared, options.stars, options.seed, tuple(options.instruments)))
            result |= {"code": code, "seconds": time.perf_counter() - start}
            options.store.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(result, indent=1) + "\n")
        print(text_of(row, json.loads(path.read_text())), flush=True)


def text_of(row, result):
    """One row for a terminal."""
    if "methods" not in result:
        return f"{row}\n{json.dumps(result, indent=1)}"
    lines = [f"{row}: {result['n_planted']} planted, {result['n_normal']} normal"]
    for title, figures in result["methods"].items():
        alarms = "".join(f", {name} {value:.3f}" for name, value in figures.items() if name != "average_precision")
        lines.append(f"    {title:30s} average precision {figures['average_precision']:.3f}{alarms}")
    return "\n".join(lines)


def main(arguments=None):
    """Parse the command line and run."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the survey and of the trainings")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--instruments", nargs=2, choices=SETTINGS, default=["lamost_lrs", "gaia_xp"])
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
