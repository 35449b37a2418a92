"""How near the package's defaults come to the information limit, and the table of it: the page ``docs/accuracy.rst``.

Each row is a command of its own, stored as JSON, so that an interrupted study goes on::

    python benchmarks/bench_accuracy.py --seed 5 --stars 20000 --rows apogee-nirspec
    python benchmarks/bench_accuracy.py --seed 5 --stars 20000      # all rows that are not stored yet, then the table

The mock survey is drawn with the seed, which is also that of the trainings. The last 2,000 stars, a visit each, are the
test; scalers, early stopping and probes are fitted on the others. No option of a training is set. The table has
what is stored of this number of stars, all seeds; the page has rows of full size alone.
"""

import functools
import time
from pathlib import Path

from accuracy_elements import ELEMENT_ROWS, element_row
from accuracy_figures import FIGURES
from accuracy_four import four_row
from accuracy_instrument import instrument_row
from accuracy_limits import limits_row
from accuracy_page import write_page
from accuracy_pairs import PAIR_ROWS, PAIRS, pair_row
from accuracy_real import real_row
from accuracy_store import code_digest, load, path_of, save
from accuracy_supervised import supervised_row
from accuracy_survey import Survey
from accuracy_table import NOT_RUN, assemble, text_of
from accuracy_throughput import throughput_row
from accuracy_transfer import transfer_row
from bench_results import FULL_SIZE, parser_of

#: In the order in which instruments that were prepared once serve most rows: those with the true continuum come later.
ROWS = {
    **{row: functools.partial(pair_row, row=row) for row in PAIRS},
    "limits-anew": limits_row,
    "four": four_row,
    "supervised": functools.partial(supervised_row, row="supervised"),
    "lamost-transfer": transfer_row,
    **{row: functools.partial(pair_row, row=row) for row in PAIR_ROWS if row not in PAIRS},
    "supervised-given": functools.partial(supervised_row, row="supervised-given"),
    "new-instrument": instrument_row,
    **{row: functools.partial(element_row, row=row) for row in ELEMENT_ROWS},
    "lamost-real": real_row,
    "throughput": throughput_row,
}


def run(options, rows):
    """Run the rows that are not stored, one JSON file each."""
    survey = Survey(options.shared, options.stars, options.seed)
    for row in rows:
        if path_of(options.store, row, options.seed, options.stars).exists() and not options.again:
            continue
        start, code = time.perf_counter(), code_digest()
        result = ROWS[row](survey) | {"code": code}
        result["seconds"] = time.perf_counter() - start
        path = save(options.store, row, options.seed, options.stars, result)
        print(f"{path.name}: {result['seconds']:.0f} s", flush=True)


def main(arguments=None):
    """Parse the command line, run, print the table, write the page."""
    parser = parser_of(__doc__)
    parser.set_defaults(page=Path(__file__).resolve().parent.parent / "docs" / "accuracy.rst")
    parser.add_argument("--seed", type=int, required=True, help="of the survey and of the trainings")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=f"by default all: {', '.join(ROWS)}")
    options = parser.parse_args(arguments)
    run(options, options.rows or ROWS)
    lines = assemble(FIGURES, load(options.store, options.stars))
    print(text_of([line for line in lines if not options.rows or line["reached"] != NOT_RUN]))
    if options.stars == FULL_SIZE:
        write_page(options.page, options.store)


if __name__ == "__main__":
    main()
