"""How many spectra a second a training takes, what it waits for, and how both grow with the number of stars."""

import contextlib
import time
from unittest.mock import patch

import torch
from astropy.table import vstack
from bench_results import plain
from performance_rows import facts
from survey_data import SETTINGS, MockSurvey

import specalign as sa
from specalign.alignment.training import AlignmentModule

PAIR = ("lamost_lrs", "gaia_xp")
EPOCHS = 2
SHARES = (0.25, 1.0, 2.5)  # of the survey's stars: 5,000, 20,000 and 50,000 at full size
BLOCK = 5000  # stars that are observed at a time


def throughput_row(survey):
    """A training of few epochs at each size; a first small one is not counted, since it loads and compiles."""
    survey.forget()  # memory
    machine = {"facts": facts("torch", "lightning", "numpy"), "threads": torch.get_num_threads()}
    sizes = [round(share * survey.n_stars) for share in SHARES]
    prepared, labels = spectra(survey, max(sizes))
    timed(prepared, labels, min(sizes[0], 500), survey.seed)
    found = [timed(prepared, labels, n, survey.seed) for n in sizes]
    return plain(machine | {"pair": list(prepared), "epochs": EPOCHS, "sizes": found})


def spectra(survey, n_stars):
    """Prepared spectra and labels of other stars than the survey's, drawn a block at a time."""
    starts = range(0, n_stars, BLOCK)
    seeds = [survey.seed * 1000 + number for number in range(len(starts))]
    parts = [block(survey.shared, min(BLOCK, n_stars - i), seed) for i, seed in zip(starts, seeds, strict=True)]
    prepared = {name: sa.PreparedSpectra.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    return prepared, vstack([part[1] for part in parts])


def block(shared, n_stars, seed):
    """One survey, training and test stars together."""
    mock, prepared = MockSurvey(shared, n_stars, seed, n_test=n_stars // 5), {}
    for name in PAIR:
        prepared[SETTINGS[name][0]] = sa.PreparedSpectra.concatenate(mock.prepare(name))
        mock.forget()
    return prepared, mock.labels["object_id", "teff", "logg", "fe_h"]


def timed(prepared, labels, n_stars, seed):
    """Seconds of one training of the first stars, and of its parts."""
    some = {name: rows[:n_stars] for name, rows in prepared.items()}
    aligner, clock = sa.Aligner(list(some)), Clock()
    start = time.perf_counter()
    with clock.watching():
        aligner.fit(some, labels=labels[:n_stars], seed=seed, max_epochs=EPOCHS, progress=False)
    seconds = time.perf_counter() - start
    return {
        "stars": n_stars,
        "spectra": clock.spectra // EPOCHS,
        "fit_seconds": seconds,
        "before_seconds": clock.started - start,
        "step_seconds": clock.steps,
        "waiting_share": clock.waiting / clock.steps,
        "spectra_per_second": clock.spectra / clock.steps,
    }


class Clock:
    """Seconds of the training steps, from asking for a batch to the end of its step, and the part that is waiting."""

    def __init__(self):
        self.waiting = self.steps = 0.0
        self.spectra, self.started, self.last = 0, None, None

    @contextlib.contextmanager
    def watching(self):
        """Watch the batches and steps of every aligner's training that runs meanwhile."""
        load, end = AlignmentModule.train_dataloader, AlignmentModule.on_train_batch_end

        def ended(module, *arguments):
            end(module, *arguments)
            self.end_step()

        loaded = patch.object(AlignmentModule, "train_dataloader", lambda module: Watched(load(module), self))
        with loaded, patch.object(AlignmentModule, "on_train_batch_end", ended):
            yield

    def begin_epoch(self):
        """The first batch is asked for."""
        self.last = time.perf_counter()
        self.started = self.started or self.last

    def end_step(self):
        """A step is over."""
        now = time.perf_counter()
        self.steps, self.last = self.steps + now - self.last, now


class Watched:
    """A loader whose batches are timed."""

    def __init__(self, loader, clock):
        self.loader, self.clock = loader, clock

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        clock = self.clock
        clock.begin_epoch()
        asked = clock.last
        for batch in self.loader:
            clock.waiting += time.perf_counter() - asked
            clock.spectra += sum(len(rows["rows"]) for rows in batch.values())
            yield batch
            asked = time.perf_counter()
