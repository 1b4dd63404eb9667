"""Free shapes, as of sound and video: samplers walk them, methods and the loop train them."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.network import Network
from fastdiff.core.schedule import SCHEDULES, Cosine
from fastdiff.data.dataset import Dataset
from fastdiff.methods import METHODS, Progress
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.generate import sample
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training


class Filter(Network):
    """A convolution over however many axes."""

    null_label, learned_variance = None, False

    def __init__(self, axes, channels=2):
        super().__init__()
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.inner, self.last = kind(channels, 8, 3, padding=1), kind(8, channels, 3, padding=1)
        self.time, self.gap = nn.Linear(1, 8), nn.Linear(1, 8, bias=False)

    def forward(self, x, t, s=None, cond=None):
        times = self.time(t[:, None] / 1000) + self.gap((t - (t if s is None else s))[:, None] / 1000)
        return self.last(torch.tanh(self.inner(x) + times.reshape(len(x), 8, *[1] * (x.ndim - 2))))

    def with_second_time(self):
        return self


SHAPES = {"vectors": (6,), "sound": (2, 12), "images": (2, 6, 6), "video": (2, 3, 4, 4)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("schedule", ["cosine", "flow", "ddpm"])
def test_samplers_walk_any_shape_to_the_same_place(shape, schedule):
    """A Gaussian's numbers are independent: samples of one shape are those of another, reshaped."""
    schedule, size = SCHEDULES[schedule](), int(torch.tensor(shape).prod())
    mean = torch.linspace(-1, 1, size)
    for name, draw in SAMPLERS.items():
        if draw.traits.noise != "none":
            continue
        exact = [
            GaussianMixture(mean.reshape(1, *of), torch.tensor([0.3]), torch.ones(1), schedule)
            for of in (shape, (size,))
        ]
        made = [sample(model, name, steps=4, n=3, spacing="uniform").flatten(1) for model in exact]
        torch.testing.assert_close(*made, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("shape", [SHAPES["sound"], SHAPES["video"]], ids=["sound", "video"])
@pytest.mark.parametrize(
    "method",
    [
        "denoising",
        "progressive",
        "ect",
        "cd",
        "ict",
        "ctm",
        "scd",
        "imm",
        "sct",
        "meanflow",
        "shortcut",
        "dmd2",
        "sida",
        "f_distill",
        "diff_instruct",
        "ladd",
        "add",
    ],
)
def test_methods_and_loop_train_any_shape(shape, method, tmp_path):
    torch.manual_seed(0)
    data = Dataset("waves", torch.randn(32, *shape))
    how = METHODS[method]()
    if getattr(how, "gan", None) and how.gan.weight:
        how.gan = how.gan.model_copy(update={"features": ("inner",)})  # 8 channels, beside any number of axes
    model, teacher = (Denoiser(Filter(len(shape) - 1), Cosine(), "v", shape) for _ in range(2))
    config = TrainConfig(steps=2 * how.cycle, batch=8, log_every=1)
    training = Training(
        how, Progress, how.student(model), teacher, data, config, tmp_path, Accelerator(cpu=True)
    )
    losses = [value for _, logs in training for name, value in logs.items() if name.endswith("loss")]
    assert len(losses) >= 2 and all(loss == loss for loss in losses)  # not NaN
    assert "discriminator" not in training.trained or training.trained["discriminator"].heads[0][
        0
    ].normalized_shape == (8,)
    assert sample(
        training.result(), "consistency" if method in ("ect", "cd") else "ddim", steps=2, n=3
    ).shape == (3, *shape)
