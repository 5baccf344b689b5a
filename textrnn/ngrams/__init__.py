"""A linear model over n-grams, and its blend with a recurrent network."""

from textrnn.ngrams.blending import BlendedClassifier, fit_scales
from textrnn.ngrams.fitting import fit_ngrams, ngram_path
from textrnn.ngrams.model import NgramClassifier

__all__ = ["BlendedClassifier", "NgramClassifier", "fit_ngrams", "fit_scales", "ngram_path"]
