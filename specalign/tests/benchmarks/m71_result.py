"""A result of the study of M71 with every part that its page shows, of numbers by hand."""

import numpy as np

TRACES = ("19, exposure 1", "19, exposure 2", "7, exposure 1", "7, exposure 2", "3, exposure 1", "3, exposure 2")
SOURCES = ("3", "7", "19")
LABELS = {"teff": 4900.0, "logg": 2.9, "fe_h": -0.67, "alpha_m": 0.24}
WAYS = ("labels", "labels and partners")


def tiny_result(methods):
    """What ``bench_m71.study`` returns, and what ``run`` adds."""
    return {
        "code": "abc",
        "seed": 5,
        "stars": 20000,
        "seconds": 600.0,
        "facts": {"fit_seconds": 300.0, "n_train": 14000, "n_kept": 4000, "n_test": 2000},
        "apogee": {source: LABELS | {"velocity": -23.3, "snr": 188.0} for source in ("7", "19")},
        "rejections": {"in": 11, "out": 4, "rejected": 7, "reasons": {}},
        "traces": trace_facts(),
        "exposures": {source: {"n": 99, "scatter": 0.0129, "over noise": 2.8} for source in SOURCES},
        "nearest": [{"trace": TRACES[0], "chi2": 39.2, "labels": LABELS, "difference": LABELS}],
        "outliers": outliers(),
        "spectra": spectra(),
        "positions": positions(),
        "adaptation": {"before": state(), "after": {plan: {way: state() for way in WAYS} for plan in ("7, 12", "19")}},
    } | label_parts(methods)


def trace_facts():
    """Velocities."""
    fact = {"velocity": -25.3, "velocity_err": 2.4, "reliable": True, "reason": ""}
    fact |= {"snr": 290.0, "good": 1766, "pixels": 3602}
    return [fact | {"trace": trace, "source": trace.split(",")[0]} for trace in TRACES]


def label_parts(methods):
    """Labels and repeatability."""
    rows = {method: [{"trace": trace, "labels": entries()} for trace in TRACES] for method in methods}
    pull = {name: {"difference": 0.5, "pull": 1.25} for name in LABELS}
    source = {"cosine": 0.98765, "labels": dict.fromkeys(methods, pull), "snr": [1, 2]}
    mock = {"n": 9, "pull_68": {method: dict.fromkeys(LABELS, 0.75) for method in methods}}
    mock["cosine"] = {key: [0.8, 0.9, 0.95] for key in ("same star", "alike in labels")}
    rmse = {method: {"all": LABELS, "giants": LABELS} for method in methods}
    return {
        "labels": {"traces": rows, "mock": rmse, "n_giants": 240, "n_test": 2000},
        "repeatability": {"sources": dict.fromkeys(SOURCES, source), "mock": mock},
        "whole": {"labels": rows},
    }


def entries():
    """Labels of a trace, a tenth above the catalogue's."""
    ends = [f"{end}_{level}" for end in ("lo", "hi") for level in (50, 80, 95)]
    return {
        name: {"value": 1.1 * value, "err": 0.1 * abs(value), "apogee": value, "difference": 0.1 * value}
        | {"held by": ["95"]}
        | dict.fromkeys(ends, value)
        for name, value in LABELS.items()
    }


def outliers():
    """Every trace is one."""
    score = {"value": 2.0, "p": 0.004}
    one = {"p": 0.004, "outlier": True, "domain": "residual 16 > 1.5; snr 5 < 30"}
    one |= {"neighbours": score, "residual": score, "disagreement": None}
    return {"false_alarm": 0.01, "n_normal": {"nirspec": 2000}, "traces": [one | {"trace": name} for name in TRACES]}


def spectra():
    """Residuals, and spectra to draw."""
    band = {"n": 99, "scatter": 0.02, "noise": 0.003, "over noise": 6.5, "chi2": 50.0, "correlation": 0.5, "slope": 1.5}
    bands = {"model": {"all": band, "near H I": None}, "reconstruction": {"all": band}}
    drawn = {name: " ".join(["1.0"] * 3000) for name in ("real", "model", "reconstruction", "noise")}
    drawn["wavelength"] = " ".join(map(str, np.linspace(9700, 13400, 3000)))
    return {"traces": {TRACES[0]: bands}, "mock": bands, "spectra": drawn}


PLACE = {"cosine": 0.5, "rank": 7, "cosine to mock NIRSpec": 0.9}


def positions():
    """Cosines, ranks, and places to draw."""
    figure = {"apogee": "0 0 1 1", "nirspec": "0 0 1 1", "twins": "0 1 1 0", "twin names": ["7", "19"]}
    return {
        "mock": {"all": {"n": 2000, "cosine": [0.1, 0.5, 0.9], "rank": [1, 2, 30]}, "gallery": 2000},
        "traces": [PLACE | {"trace": name} for name in TRACES],
        "mock twins": [{"trace": "mock at the labels of 7", "cosine": 0.5, "rank": 3}],
        "figure": figure | {"share": [0.3, 0.2]},
        "outside": [[], []],
    }


def state():
    """Before or after an adaptation."""
    traces = [PLACE | {"trace": name, "mlp": entries(), "knn": entries()} for name in TRACES]
    return {"traces": traces, "mock": {"mlp": LABELS, "knn": LABELS}, "points": "0.1 0.2 " * len(TRACES)}
