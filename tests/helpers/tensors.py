"""Tensors that tests write down or draw."""

import torch


def f64(x):
    return torch.tensor(x, dtype=torch.float64)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)
