"""Several encoders into one shared space, or one of them to labels."""

from specalign.alignment.adaptation import adapt
from specalign.alignment.aligner import Aligner
from specalign.alignment.history import AdaptationHistory, History, LabelHistory, PretrainingHistory
from specalign.alignment.objectives import Objective, get_objective
from specalign.alignment.pretraining import pretrain
from specalign.alignment.regressor import LabelRegressor

__all__ = [
    "AdaptationHistory",
    "Aligner",
    "History",
    "LabelHistory",
    "LabelRegressor",
    "Objective",
    "PretrainingHistory",
    "adapt",
    "get_objective",
    "pretrain",
]
