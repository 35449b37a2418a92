"""Real spectra of M71's giants over mock ones: residuals, the nearest model, and what two exposures differ by."""

import numpy as np
from m71_data import NAMES, drawn, noiseless, survey_values
from m71_space import domain_reasons, mock_giants, trace_labels

import specalign as sa

CLEAN, SOURCE = ("3", "19"), "19"
BANDS = ((9700, 11000), (11000, 13520), (14930, 18000))  # Angstrom; the synthetic grid has nothing between the last two
HYDROGEN = (10052.1, 10941.1, 12821.6)  # Paschen delta, gamma, beta, vacuum; the grid has no H I
HALF_WINDOW = 15.0
LIBRARY = 5000  # noiseless mock spectra to which a trace is compared


def spectrum_gap(space, traces, known, made, encoder):
    """Real spectra of the clean labelled source against the model at its labels and against a reconstruction."""
    values = survey_values([known[SOURCE]])
    model = noiseless(space.survey, "nirspec", values, ["model"])
    rows = np.flatnonzero(traces.source == SOURCE)
    stats = {}
    for i in rows:
        one = traces.prepared[i : i + 1]
        pair = {"model": model, "reconstruction": made[i : i + 1]}
        stats[str(traces.title[i])] = {name: residual_statistics(one, other) for name, other in pair.items()}
    others = {
        name: residual_statistics(traces.prepared[i : i + 1], made[i : i + 1]) for i, name in enumerate(traces.title)
    }
    return {
        "traces": stats,
        "reconstruction": {str(name): one["all"] for name, one in others.items()},
        "mock": mock_gap(space, encoder),
        "spectra": shown_spectra(traces.prepared[rows[:1]], model, made[rows[:1]]),
    }


def mock_gap(space, encoder, snr=(150.0, 290.0)):
    """Medians of the same statistics for mock giants of the clean traces' S/N, against their own models."""
    names, values = mock_giants(space)
    if not len(names):
        return None
    level = np.random.default_rng([space.seed, 73]).uniform(*snr, len(names))
    seen = drawn(space.survey, "nirspec", values, names, 4, level)
    pair = {
        "model": noiseless(space.survey, "nirspec", values, names),
        "reconstruction": sa.reconstruct(encoder, seen, reference=space.kept["nirspec"]),
    }
    out = {}
    for name, other in pair.items():
        rows = [residual_statistics(seen[i : i + 1], other[i : i + 1]) for i in range(len(seen))]
        out[name] = {band: medians([row[band] for row in rows if row[band]]) for band in rows[0]}
    return out


def medians(rows):
    """Medians of dicts of numbers; None where there is none."""
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0]} if rows else None


def residual_statistics(prepared, other):
    """Statistics of one spectrum's residual from another's flux: of all pixels, of each band, and near lines of H I."""
    good = ~prepared.mask[0] & ~other.mask[0] & (prepared.ivar[0] > 0)
    wavelength = prepared.spectral_axis.value
    near = np.any([np.abs(wavelength - line) < HALF_WINDOW for line in HYDROGEN], axis=0)
    parts = {"all": good} | {f"{a}-{b}": good & (wavelength >= a) & (wavelength < b) for a, b in BANDS}
    parts |= {"near H I": good & near}
    return {name: part_statistics(prepared, other, part) for name, part in parts.items()}


def part_statistics(prepared, other, part):
    """Number of pixels, half the 16-84 % range of the residual, that of the noise, and what the residual is over it."""
    if part.sum() < 10:
        return None
    flux, template = (one.flux[0, part].astype(float) for one in (prepared, other))
    about = np.cov(flux, template)
    sigma, residual = prepared.ivar[0, part].astype(float) ** -0.5, flux - template
    low, high = np.percentile(residual, (16, 84))
    return {
        "n": int(part.sum()),
        "scatter": float((high - low) / 2),
        "noise": float(np.median(sigma)),
        "over noise": float(np.median(np.abs(residual / sigma)) / 0.6745),
        "chi2": float(np.mean((residual / sigma) ** 2)),
        "correlation": float(about[0, 1] / np.sqrt(about[0, 0] * about[1, 1])),
        "slope": float(about[0, 1] / about[1, 1]),
        "lines": float((np.percentile(template, 84) - np.percentile(template, 16)) / 2),
    }


def shown_spectra(prepared, model, made):
    """What the figure draws, NaN where there is nothing; as strings, which are compact in JSON."""
    good = [~prepared.mask[0], ~model.mask[0], ~prepared.mask[0] & ~made.mask[0]]
    flux = [np.where(g, one.flux[0], np.nan) for g, one in zip(good, (prepared, model, made), strict=True)]
    values = {"wavelength": prepared.spectral_axis.value, "real": flux[0], "model": flux[1], "reconstruction": flux[2]}
    values["noise"] = np.where(good[0], np.maximum(prepared.ivar[0], 1e-12) ** -0.5, np.nan)
    return {name: packed(one, 2 if name == "wavelength" else 4) for name, one in values.items()}


def nearest_models(space, traces, known):
    """Labels of the noiseless mock spectrum that is nearest to each clean trace, by chi-square: no encoder is asked."""
    mock = space.survey.mock
    library = noiseless(space.survey, "nirspec", mock.values[:LIBRARY], mock.object_id[:LIBRARY])
    out = []
    for i in np.flatnonzero(np.isin(traces.source, CLEAN)):
        chi2 = mean_chi_square(traces.prepared[i : i + 1], library)
        best = int(np.argmin(chi2))
        entry = {"trace": str(traces.title[i]), "chi2": float(chi2[best]), "n": len(library)}
        entry["labels"] = dict(zip(NAMES, mock.values[best, :4].tolist(), strict=True))
        if traces.source[i] in known:
            entry["difference"] = {name: entry["labels"][name] - known[traces.source[i]][name] for name in NAMES}
        out.append(entry)
    return out


def mean_chi_square(prepared, library):
    """Mean chi-square a pixel (M,) of one spectrum against others, by the stated noise."""
    good = ~prepared.mask[0] & (prepared.ivar[0] > 0) & ~library.mask.any(axis=0)
    residual = library.flux[:, good] - prepared.flux[0, good]
    return (residual.astype(float) ** 2 * prepared.ivar[0, good]).mean(axis=1)


def exposure_differences(traces):
    """What the best traces of two exposures differ by, over the stated noise of the difference, by source."""
    out = {}
    for source in np.unique(traces.source).tolist():
        first, second = (traces.prepared[i : i + 1] for i in traces.best(source))
        good = ~first.mask[0] & ~second.mask[0] & (first.ivar[0] > 0) & (second.ivar[0] > 0)
        sigma = np.sqrt(1 / first.ivar[0, good] + 1 / second.ivar[0, good])
        difference = (first.flux[0, good] - second.flux[0, good]).astype(float)
        low, high = np.percentile(difference, (16, 84))
        over = float(np.median(np.abs(difference / sigma)) / 0.6745)
        out[source] = {"n": int(good.sum()), "scatter": float((high - low) / 2), "over noise": over}
    return out


def whole_study(space, models, whole, known, traces):
    """What the pixels do that the mock survey lacks: labels, domain, and cosines to embeddings without them."""
    vectors, cut = (space.aligner.embed(one.prepared).vectors for one in (whole, traces))
    labels = {
        name: trace_labels(model.predict(prepare(whole.prepared)), whole, known)
        for name, (model, prepare) in models.items()
    }
    model = noiseless(space.survey, "nirspec", survey_values([known[SOURCE]]), ["model"])
    rows = [i for i, source in enumerate(whole.source) if source == SOURCE]
    gap = {str(whole.title[i]): residual_statistics(whole.prepared[i : i + 1], model)["all"] for i in rows}
    cosines = dict(zip(whole.title.tolist(), np.sum(vectors * cut, axis=1).tolist(), strict=True))
    reasons = dict(zip(whole.title.tolist(), domain_reasons(space, whole).tolist(), strict=True))
    return {"labels": labels, "cosine": cosines, "model": gap, "domain": reasons}


def packed(values, digits=4):
    """Numbers as one string."""
    return " ".join(f"{value:.{digits}f}" for value in np.ravel(values))


def unpacked(text):
    """What `packed` made a string of."""
    return np.array(text.split(), dtype=float)
