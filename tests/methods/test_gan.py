"""A plain adversarial network: one step from pure noise, no teacher, and a gradient that finds the data."""

import torch
from torch import nn

from fastdiff.core.schedule import VP, Karras
from fastdiff.methods import Progress
from fastdiff.methods.gan import GAN
from fastdiff.samplers.generate import sample
from tests.helpers.oracles import MIDDLE, batch_of, constant, told

AT = torch.tensor([1.0, 2.0], dtype=torch.float64)


class Far(nn.Module):
    """A discriminator that finds samples the more real the nearer they are to a place."""

    def forward(self, samples, cond=None):
        return -(samples[0] - AT).square().sum(1, keepdim=True)


def test_the_generator_makes_its_samples_as_it_is_sampled():
    for schedule in (Karras(), VP()):
        student = told(lambda x, t, s: 0 * x, schedule, "x0")
        student.sampling = GAN().sampling()
        GAN().loss(
            ("student",), {"student": student, "discriminator": Far()}, batch_of(torch.zeros(900, 2)), MIDDLE
        )
        sample(student, n=900, batch=900)
        (x, t, s, _), (y, *times, _) = student.net.asked
        assert (t == schedule.t_max).all() and (s == 0).all()
        assert all((t.double() == other[0]).all() for t, other in zip((t, s), times))
        assert abs(x.std() / y.std() - 1) < 0.1


def test_the_generator_is_drawn_to_what_the_discriminator_takes_for_real():
    student = constant(torch.zeros(2, dtype=torch.float64), VP(), "x0")
    loss, logs = GAN().loss(
        ("student",),
        {"student": student, "discriminator": Far()},
        batch_of(torch.zeros(16, 2).double()),
        MIDDLE,
    )
    (slope,) = torch.autograd.grad(loss, student.net.point)
    far = AT.square().sum()  # softplus falls at the rate of the sigmoid of its argument
    torch.testing.assert_close(slope, -2 * AT * torch.sigmoid(far), rtol=1e-5, atol=0)
    torch.testing.assert_close(logs["gan"].double(), torch.nn.functional.softplus(far), rtol=1e-5, atol=0)


def test_there_is_no_teacher_and_a_discriminator_with_a_trunk_of_its_own():
    student = constant(torch.zeros(2).double(), VP(), "x0")
    assert set(GAN().trainable_networks(student, None)) == {"discriminator"} and GAN().teacher_nfe() == 0
    assert GAN().turns(Progress(0, 9, 0)) == (("discriminator",), ("student",))
