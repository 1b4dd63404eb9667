"""Tensors that tests write down."""

import torch


def f64(x):
    return torch.tensor(x, dtype=torch.float64)
