"""Giants of M71 that JWST/NIRSpec saw, end to end: velocities, preparation, embeddings, labels, outliers, adaptation.

    python benchmarks/bench_m71.py --seed 61 --stars 20000     # stores the result, then writes docs/m71.rst

An aligner is trained with its defaults on mock NIRSpec and APOGEE spectra whose flux is normalised anew, since real
spectra have no true continuum.  No real spectrum is trained on, except by the adaptations, which leave the source out
that is tested.  A survey of another size is stored, but the page is written at full size alone; ``--page-anyway``
writes it to look at it.  ``--max-epochs`` is for trying the program: its results are printed and not stored.
"""

import json
import time

from accuracy_store import code_digest
from accuracy_survey import Survey
from bench_results import FULL_SIZE, parser_of, plain
from m71_adapt import adapt_study
from m71_data import apogee_labels, read_traces, twins
from m71_space import label_models, label_study, repeatability, trained
from m71_spectra import exposure_differences, nearest_models, spectrum_gap, whole_study
from m71_study import Plane, outlier_study, position_study
from results_m71 import summary_text, write_m71

from specalign.io.files import atomic_write


def study(survey, max_epochs=None):
    """Everything that is stored."""
    known, traces = apogee_labels(survey.shared), read_traces(survey.shared)
    space = trained(survey, max_epochs)
    models = label_models(space)
    partners, plane = twins(survey, traces, known), Plane(space)
    labels = label_study(space, models, traces, known)
    outliers, made, encoder = outlier_study(space, traces, partners)
    result = {
        "facts": space.facts | {"n_test": len(space.test["nirspec"])},
        "apogee": known,
        "traces": trace_facts(traces),
        "rejections": traces.rejected,
        "labels": labels,
        "repeatability": repeatability(space, models, traces, labels),
        "exposures": exposure_differences(traces),
        "outliers": outliers,
        "spectra": spectrum_gap(space, traces, known, made, encoder),
        "nearest": nearest_models(space, traces, known),
        "positions": position_study(space, traces, known, partners, plane),
        "whole": whole_study(space, models, read_traces(survey.shared, whole=True), known, traces),
        "adaptation": adapt_study(space, traces, known, partners, plane),
    }
    return plain(result)


def trace_facts(traces):
    """Velocity, S/N and share of good pixels of each trace."""
    out = []
    for i, title in enumerate(traces.title):
        row = traces.velocity[i]
        fact = {"trace": str(title), "source": str(traces.source[i]), "reason": str(row["reason"])}
        fact |= {name: float(row[name].value) for name in ("velocity", "velocity_err")}
        fact |= {"reliable": bool(row["reliable"]), "reduced_chi2": float(row["reduced_chi2"])}
        fact |= {"snr": float(traces.prepared.snr[i]), "good": int((~traces.prepared.mask[i]).sum())}
        out.append(fact | {"pixels": traces.prepared.flux.shape[1]})
    return out


def path_of(options):
    """Where the result is stored."""
    return options.store / f"m71-seed{options.seed}-stars{options.stars}.json"


def run(options):
    """The stored result, or a new one."""
    path = path_of(options)
    if path.exists() and not options.again and not options.max_epochs:
        return json.loads(path.read_text())
    start, code = time.perf_counter(), code_digest()
    result = study(Survey(options.shared, options.stars, options.seed), options.max_epochs)
    result |= {"code": code, "seed": options.seed, "stars": options.stars, "seconds": time.perf_counter() - start}
    if not options.max_epochs:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main(arguments=None):
    """Parse the command line, run what is not stored, print, write the page."""
    parser = parser_of(__doc__)
    parser.set_defaults(page=parser.get_default("page").with_name("m71.rst"))
    parser.add_argument("--seed", type=int, required=True, help="of the survey and of the trainings")
    parser.add_argument("--page-anyway", action="store_true", help="write the page of a survey of another size, too")
    parser.add_argument("--max-epochs", type=int, help="a short training; nothing is stored")
    options = parser.parse_args(arguments)
    result = run(options)
    print(summary_text(result))
    if options.page_anyway or (options.stars == FULL_SIZE and not options.max_epochs):
        write_m71(options.page, result)


if __name__ == "__main__":
    main()
