"""Real spectra that are known to be unusual: M dwarfs among LAMOST's A, F, G stars, and artefacts of NIRSpec.

The M dwarfs all come as files of the older format, and the normal stars as rows of the newer one, so that format and
type are confounded; the few other stars of the older format, and files of the newer one, are scored beside them.
"""

import warnings

import numpy as np
from astropy.io import fits
from outliers_study import FALSE_ALARM, by_star
from survey_data import MockSurvey, RealLamost

import specalign as sa
from specalign.data.splits import split
from specalign.exceptions import SpecalignError, VelocityWarning

SCORES = ("neighbours", "residual")
ARTEFACTS = ("7", "12")  # saturation, two traces; sources 3 and 19 are clean
CONFOUNDED = "every M dwarf is a file of the older format, the normal stars are not: see the other files of that format"


def real_row(shared, n_stars, seed, instruments):
    """Both studies; what is absent is skipped with a reason."""
    return {"lamost": lamost_study(shared, seed), "nirspec": nirspec_study(shared, n_stars, seed)}


def lamost_study(shared, seed):
    """Files scored against the labelled stars, which are divided in those trained on and those held out."""
    folder = shared / "data" / "spectra" / "lamost_lrs"
    if not folder.is_dir():
        return {"skipped": f"{folder.name} is not there"}
    prepared = RealLamost(shared, seed).prepare()
    stars = np.unique(prepared["lamost"].object_id)
    train = {k: v[_part(v.object_id, seed) == "train"] for k, v in prepared.items()}
    held = prepared["lamost"][_part(prepared["lamost"].object_id, seed) == "test"]
    spectra, groups, skipped = lamost_files(folder)
    found = against(train, held, spectra, "lamost", seed)
    return {
        "n_stars": len(stars),
        "confounded": CONFOUNDED,
        "skipped_files": skipped,
        "groups": grouped(found, groups),
    }


def _part(object_id, seed):
    return split(object_id, validation=0, test=0.5, seed=seed, purpose="real outliers")


def lamost_files(folder):
    """Prepared spectra of all files, by file name; the group of each; and why some are missing."""
    lamost, parts, groups, skipped = sa.get_instrument("lamost"), [], {}, {}
    for path in sorted(folder.glob("*.fits*")):
        name = path.name.split(".")[0]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VelocityWarning)
                one = lamost.prepare(lamost.read(path), object_id=[name], spectrum_id=[name])
        except SpecalignError as error:
            skipped[name] = str(error)
            continue
        if not len(one) or one.catalog["frame"][0] != "rest":
            skipped[name] = "no velocity is known" if len(one) else str(one.rejected["reason"][0])
            continue
        parts.append(one)
        groups[name] = group_of(path)
    return sa.PreparedSpectra.concatenate(parts), groups, skipped


def group_of(path):
    """Spectral class and format of a file."""
    with fits.open(path) as hdus:
        kind = "M dwarf" if hdus[0].header["SUBCLASS"].startswith("M") else "other star"
        return f"{kind}, {'newer' if 'COADD' in hdus else 'older'} format"


def nirspec_study(shared, n_stars, seed):
    """The M71 giants against mock stars: no other real NIRSpec stars are there to learn from."""
    paths = sorted((shared / "data" / "spectra" / "nirspec").glob("spec1d*.fits"))
    if not paths:
        return {"skipped": "no NIRSpec files are there"}
    survey = MockSurvey(shared, n_stars, seed, n_test=n_stars // 2)
    both = {name: survey.prepare(name) for name in ("nirspec", "apogee")}
    spectra, groups = nirspec_files(paths, both["nirspec"][0])
    train = {name: parts[0] for name, parts in both.items()}
    found = against(train, both["nirspec"][1], spectra, "nirspec", seed)
    return {
        "normal": "mock stars, so that what mock and real spectra differ by counts",
        "groups": grouped(found, groups),
    }


def nirspec_files(paths, like):
    """Every trace of every exposure, and its group, in the frame of the mock stars."""
    nirspec, groups, spectra, names, rows = sa.get_instrument("nirspec"), {}, [], [], []
    for path in paths:
        source = path.stem.rsplit("_", 1)[1]
        for number, one in enumerate(nirspec.read(path)):
            spectra.append(one)
            names.append(f"source {source}")
            rows.append(f"{path.stem} trace {number}")
            groups[names[-1]] = "artefacts" if source in ARTEFACTS else "clean"
    given = {
        "object_id": names,
        "spectrum_id": rows,
        "frame": "rest",
    }  # M71's -23 km/s are a fifth of a resolution element
    return nirspec.prepare(spectra, **given), groups


def against(train, held, spectra, name, seed):
    """Scores of spectra, with an aligner and an autoencoder that learned from training stars."""
    aligner = sa.Aligner(list(train), objective="clip")
    aligner.fit(train, seed=seed, progress=False)
    encoder = sa.pretrain("autoencoder", train[name], seed=seed, progress=False)
    model = sa.OutlierModel(SCORES, seed=seed)
    model.fit(aligner.embed(held), held, sa.reconstruct(encoder, held))
    made = sa.reconstruct(encoder, spectra, reference=held)
    return model.predict(aligner.embed(spectra), spectra, made, false_alarm=FALSE_ALARM)


def grouped(found, groups):
    """By group: how many stars are outliers, and the scores of each."""
    scores, alarms = by_star(found), by_star(found, "outlier")
    result = {}
    for name, group in sorted(groups.items()):
        if name in scores:
            one = result.setdefault(group, {"n": 0, "outliers": 0, "score": {}})
            one["n"], one["outliers"] = one["n"] + 1, one["outliers"] + int(alarms[name])
            one["score"][name] = round(scores[name], 2)
    return {
        group: one
        | {
            "median_p": float(
                np.median(
                    [p for p, o in zip(found["p_value"], found["object_id"], strict=True) if groups[str(o)] == group]
                )
            )
        }
        for group, one in result.items()
    }
