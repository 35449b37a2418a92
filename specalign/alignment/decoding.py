"""Contrast with decoders: objectives under which vectors must also tell the spectra, the own or another's.

SpecCLIP (Zhao et al. 2025, arXiv 2507.01939) adds the reconstruction of a vector's own spectrum and the prediction of
the other instrument's to CLIP's contrast, and splits the vectors into shared and private dimensions; here any number of
instruments takes part, and errors count by the noise of the pixels.
"""

import itertools

import torch

from specalign.alignment.objectives import InfoNCE, checked_weight

__all__ = ["Clip", "ClipBoth", "ClipPredict", "ClipReconstruct", "Split"]

RECONSTRUCT = PREDICT = 1.0


class Clip(InfoNCE):
    """The contrast alone: `InfoNCE` under the name that its variants are known by.

    Parameters
    ----------
    initial_scale, max_scale : float
        See `InfoNCE`.

    Examples
    --------
    >>> from specalign.alignment.decoding import Clip
    >>> Clip().weights
    {'contrast': 1.0}
    """

    @property
    def weights(self):
        wanted = {"reconstruct": self.reconstruct, "predict": self.predict}
        return {"contrast": 1.0} | {name: weight for name, weight in wanted.items() if weight}

    def config(self):
        own = {name: getattr(self, name) for name in ("reconstruct", "predict", "private") if name in vars(self)}
        return super().config() | own

    def terms(self, vectors, stars, decoding=None):
        terms = {"contrast": self(self.shared(vectors), stars)}
        if decoding is None:
            return terms
        found = self.decoded(vectors, stars, decoding)
        own, others = ([e for (a, b), e in found.items() if (a == b) == same] for same in (True, False))
        errors = {"reconstruct": own, "predict": others}
        nothing = self.nothing(vectors)
        return terms | {name: torch.cat(errors[name]).mean() if errors[name] else nothing
                        for name in self.weights if name in errors}  # fmt: skip

    def decoded(self, vectors, stars, decoding):
        """Errors of what the vectors of a batch tell of spectra: dict of (target, source) to (n,) `~torch.Tensor`.

        Each row of a target is told by each row of the same star in the source; a vector's own spectrum by it alone.
        """
        known, found = self.without_private(vectors), {}
        for source, target in itertools.product(sorted(vectors), repeat=2):
            if source == target and self.reconstruct:
                found[target, source] = decoding.own(source)
            elif source != target and self.predict:
                rows, theirs = (stars[source][:, None] == stars[target][None, :]).nonzero(as_tuple=True)
                if len(rows):
                    found[target, source] = decoding.other(target, source, known[source][rows], theirs)
        return found

    def without_private(self, vectors):
        """The vectors with 0 in their private dimensions, which say nothing of another instrument."""
        if not self.private:
            return vectors
        pad = torch.nn.functional.pad
        shared = self.shared(vectors)
        return {name: pad(shared[name], (0, v.shape[1] - shared[name].shape[1])) for name, v in vectors.items()}


class ClipReconstruct(Clip):
    """Contrast, and the vector's own spectrum from the vector.

    Parameters
    ----------
    reconstruct : float
        Weight of the reconstruction, in nats a factor: see `~specalign.alignment.decoders.FactorDecoder.error`.
    initial_scale, max_scale : float
        See `InfoNCE`.

    Raises
    ------
    ValueError
        A weight is negative or not finite.

    Examples
    --------
    >>> from specalign.alignment.decoding import ClipReconstruct
    >>> ClipReconstruct(reconstruct=0.5).weights
    {'contrast': 1.0, 'reconstruct': 0.5}
    """

    def __init__(self, reconstruct=RECONSTRUCT, initial_scale=15.5, max_scale=200.0):
        super().__init__(initial_scale, max_scale)
        self.reconstruct = checked_weight("reconstruct", reconstruct)


class ClipPredict(Clip):
    """Contrast, and the spectra that the other instruments took of the star from the vector.

    Parameters
    ----------
    predict : float
        Weight of the prediction, in nats a factor.
    initial_scale, max_scale : float
        See `InfoNCE`.

    Raises
    ------
    ValueError
        A weight is negative or not finite.

    Examples
    --------
    >>> from specalign.alignment.decoding import ClipPredict
    >>> ClipPredict().weights
    {'contrast': 1.0, 'predict': 1.0}
    """

    def __init__(self, predict=PREDICT, initial_scale=15.5, max_scale=200.0):
        super().__init__(initial_scale, max_scale)
        self.predict = checked_weight("predict", predict)


class ClipBoth(Clip):
    """Contrast, the vector's own spectrum, and those of the other instruments.

    Parameters
    ----------
    reconstruct, predict : float
        Weights, in nats a factor.
    initial_scale, max_scale : float
        See `InfoNCE`.

    Raises
    ------
    ValueError
        A weight is negative or not finite.

    Examples
    --------
    >>> from specalign.alignment.decoding import ClipBoth
    >>> ClipBoth(predict=2).weights
    {'contrast': 1.0, 'reconstruct': 1.0, 'predict': 2.0}
    """

    def __init__(self, reconstruct=RECONSTRUCT, predict=PREDICT, initial_scale=15.5, max_scale=200.0):
        super().__init__(initial_scale, max_scale)
        self.reconstruct, self.predict = checked_weight("reconstruct", reconstruct), checked_weight("predict", predict)


class Split(ClipBoth):
    """As `ClipBoth`, with dimensions of each instrument's own: contrast and prediction do not see them.

    What one instrument sees of a star and the others do not has a place there, and need not disturb what is shared.

    Parameters
    ----------
    private : float
        Share of the vectors' dimensions, between 0 and 1.
    reconstruct, predict : float
        Weights, in nats a factor.
    initial_scale, max_scale : float
        See `InfoNCE`.

    Raises
    ------
    ValueError
        A weight is negative or not finite, or the share is not between 0 and 1.

    Examples
    --------
    >>> from specalign.alignment.decoding import Split
    >>> Split(private=0.25).n_shared(128)
    96
    """

    def __init__(self, private=1 / 3, reconstruct=RECONSTRUCT, predict=PREDICT, initial_scale=15.5, max_scale=200.0):
        super().__init__(reconstruct, predict, initial_scale, max_scale)
        if not isinstance(private, float) or not 0 < private < 1:
            raise ValueError(f"private: expected a share between 0 and 1, got {private!r}")
        self.private = private
