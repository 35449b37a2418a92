"""Labels of new spectra with a model that was made before, and whether the spectra are like those of its training."""

from specalign.prediction.domain import TrainingDomain
from specalign.prediction.model import LabelTransfer
from specalign.prediction.predict import predict

__all__ = ["LabelTransfer", "TrainingDomain", "predict"]
