"""The section of ``docs/results.rst`` on spectra translated between HST and Gaia XP, from stored rows."""

import json

from results_tables import list_table, spread

TITLE = "Real stars seen by HST and Gaia XP, translated"
NO_DECODER = "no-decoder"
TRAININGS = {"real": "real pairs", "population": "and of other XP spectra", "between": "and stars between them"}
DIRECTIONS = {"gaia_xp -> stis": "XP to HST", "stis -> gaia_xp": "HST to XP"}
IN_BINS = (
    "the spectrum itself",
    "median ratio",
    "median ratio of the 10 nearest stars",
    "between:clip+predict",
)
ABOUT = """The {n} stars of the section before, translated from each instrument to the other by decoders
(:ref:`translation`), in five folds: an aligner is trained on four fifths of the stars, and the others are
translated. ::

    python benchmarks/bench_calspec_translation.py --shared ../shared

*Real pairs* are those of the training stars, 72 or 73. *And of other XP spectra*: with them, {n_made} pairs made of
other XP spectra and of the ratios XP / HST of the training stars. *And stars between them*: with them, as many pairs on
the lines between training stars that look alike. None of the other XP spectra is of one of the {n} stars.

Both instruments have the same samples here, so that much can be said without a decoder, and a decoder must be better
than that: the spectrum itself, unchanged; divided by (or multiplied with) the median ratio XP / HST of the training
stars, or of the ten of them that look most alike; the spectrum that the other instrument took of the nearest training
star; the mean of the training spectra.

All spectra are divided by their flux at 550 nm, as they are prepared, HST is at XP's resolution, and the sample at
550 nm, 1 in all of them, does not count. Nor does a sample that is missing on either side, for any method. *Scatter* is
half the range of the middle 68 % of the fractional residuals of all samples of all stars, *bias* their median; the
noise of the spectrum that it is compared with is in the scatter. *Chi-square* a sample has the variance that the method
states and that of the measured spectrum: the mean, which a few samples decide, and the median, 0.45 if all is right and
normal. The variance of a decoder is its own; of the spectrum itself and the nearest star, the measured one; of ratios
and mean, the scatter over the training stars, in which the noise of both is already."""
CLASSES = """Scatter by class (in brackets: stars), XP to HST and HST to XP:"""
BINS = """By wavelength, XP to HST: bias and scatter in per cent, and the median chi-square."""
FINDINGS = """
* **Decoders do not help here.** The best of them leave 5 % (``clip+predict``, 4 to 7 % over three seeds; ``clip+both``,
  one seed, 4 %), the spectrum itself 3.0 %, the median ratio 2.5 %, and that of the ten nearest stars 2.1 %. Where two
  instruments share their samples, take a ratio.
* Where they do not, only the nearest star, the mean and the decoder are left: 2.2 %, 128 % and 5 % from XP to HST,
  3.6 %, 112 % and 5 % from HST to XP.
* From 512 to 578 nm the decoder is nearer than any ratio (0.4-0.9 %, against 0.9-1.3 % of the ten nearest stars),
  beyond 680 nm 1.4 to 3.4 times worse than they are, and in one of the three seeds 4 to 12 times. That is near and far
  from the sample that all spectra are divided by; other normalisations were not tried.
* **What trains decides.** Real pairs alone leave 27 and 30 %. With other XP spectra, among which hot stars are few, F
  and G stars come to 3.5 and 2.9 %, near the 2.0 % of the median ratio, and O and B stars and white dwarfs to 61 and
  23 %. Stars between the real ones are as hot. K and M stars are 4: no training has enough of them (47-101 %, where a
  ratio leaves 7 %), and the nearest star does not know them either.
* **Stated errors** are right for the middle of the samples (median chi-square 0.47 and 0.56 with stars between the
  real ones). The mean tells of the tails, seed by seed: 1.4-1.7 for A stars, 1.4-9 for F and G stars, 2-6 for O and B
  stars and white dwarfs, and 430-3900 for K and M stars, of which the decoder does not tell that it does not know them.
  The variances are scaled on validation stars, which lie between training stars, too. Ratios have tails as well (7 to
  12). With real pairs alone most of the errors are too large.
* The trainings have one seed where no ± stands; ± has no error of the {n} stars. No setting was tuned; the ways to
  make pairs are those of the section before."""


def translation_section(store):
    """The section, or nothing where the rows without a decoder are not stored."""
    found = read(store)
    if NO_DECODER not in found:
        return ""
    first = found[NO_DECODER][0]
    facts = {"n": sum(first["n_class"].values()), "n_made": made(found)}
    methods = by_method(found)
    parts = [f"\n{TITLE}\n{'-' * len(TITLE)}\n", ABOUT.format(**facts), "", whole_table(methods), ""]
    parts += [CLASSES, "", class_table(methods, first["n_class"]), "", BINS, "", bin_table(methods)]
    parts += [FINDINGS.format(**facts) + cost_text(found), ""]
    return "\n".join(parts)


def cost_text(found):
    """Minutes of the five trainings of a row."""
    minutes = {row: [sum(r["fit_seconds"]) / 60 for r in results] for row, results in found.items() if ":" in row}
    cells = (f"{words(row)} {spread(values, 1)}" for row, values in sorted(minutes.items()))
    return f"\n* Minutes of the five trainings, one a fold: {'; '.join(cells)}." if minutes else ""


def read(store):
    """The stored results of every row, a list over seeds."""
    found = {}
    for path in sorted(store.glob("calspec-translation-*-seed*.json")):
        result = json.loads(path.read_text())
        found.setdefault(result["row"], []).append(result)
    return found


def made(found):
    """Pairs that were made for a training, beside the real ones."""
    sizes = {row.partition(":")[0]: results[0]["n_train"][0] for row, results in found.items() if ":" in row}
    return max(sizes.values(), default=0) - sizes.get("real", 0)


def by_method(found):
    """dict of method to its figures by direction, a list over seeds."""
    methods = {}
    for row in sorted(found, key=lambda row: (row != NO_DECODER, list(TRAININGS).index(row.partition(":")[0])
                                              if ":" in row else 0, row)):  # fmt: skip
        for result in found[row]:
            for name, figures in result["methods"].items():
                methods.setdefault(name, []).append(figures)
    return methods


def words(name):
    """What the page calls a method."""
    kind, _, objective = name.partition(":")
    return f"``{objective}``, {TRAININGS[kind]}" if objective else name


def whole_table(methods):
    """A row a method and direction."""
    rows = [("method", "seeds", "direction", "scatter", "bias", "stated", "chi-square", "median")]
    for name, results in methods.items():
        for way, direction in DIRECTIONS.items():
            figures = [result[way]["all"] for result in results]
            shares = [spread([100 * f[key] for f in figures], 1) + " %" for key in ("scatter", "bias", "stated")]
            chi2 = (spread([f["chi2"] for f in figures], 1), spread([f["median_chi2"] for f in figures], 2))
            rows.append((words(name), str(len(results)), direction, *shares, *chi2))
    return list_table(rows)


def class_table(methods, n_class):
    """A row a method: scatter by class, both ways."""
    rows = [("method", *(f"{key} ({n})" for key, n in n_class.items()))]
    for name, results in methods.items():
        cells = (
            ", ".join(spread([100 * r[way]["class"][key]["scatter"] for r in results], 1) for way in DIRECTIONS) + " %"
            for key in n_class
        )
        rows.append((words(name), *cells))
    return list_table(rows)


def bin_table(methods):
    """A row a bin of wavelength, of some methods."""
    known = {
        name: [result["gaia_xp -> stis"]["bins"] for result in methods[name]] for name in IN_BINS if name in methods
    }
    rows = [("nm", *(words(name) for name in known))]
    for number, one in enumerate(next(iter(known.values()))[0]):
        low, high = (edge / 10 for edge in one["angstrom"])
        cells = (bin_cell([bins[number] for bins in results]) for results in known.values())
        rows.append((f"{low:.0f}-{high:.0f}", *cells))
    return list_table(rows)


def bin_cell(figures):
    """Bias, scatter and median chi-square of one bin."""
    bias, scatter = ([100 * f[key] for f in figures] for key in ("bias", "scatter"))
    return f"{sum(bias) / len(bias):+.1f}, {spread(scatter, 1)}; {spread([f['median_chi2'] for f in figures], 2)}"
