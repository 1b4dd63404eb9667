"""Passes of a step, counted."""

from collections import Counter

from fastdiff.core.validation import call, spelled
from fastdiff.evaluation.profiling.passes import passes_of
from fastdiff.evaluation.profiling.training import make_training
from fastdiff.methods import METHODS


def made(name):
    return call(METHODS, *spelled(name, "method"), "method")


def counted(name, model, folder):
    training = make_training(made(name), model, 8, folder)
    return Counter(map(str, passes_of(training, training.advance)))
