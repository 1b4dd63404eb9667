"""Runs of adapters."""

from copy import deepcopy

import torch
from accelerate import Accelerator

from fastdiff.methods import Progress
from fastdiff.training.loop import Training


def run_of(folder, teacher, data, config, method, student=None):
    student = student or method.student(deepcopy(teacher))
    student.sampling = method.sampling()
    torch.manual_seed(config.seed)
    return Training(method, Progress, student, teacher, data, config, folder, Accelerator(cpu=True))


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}
