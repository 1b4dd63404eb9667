"""Flow maps (MeanFlow, shortcut, CTM): the closed form, what all of them keep,
and the toy learned in seconds."""

import pytest
import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.methods import METHODS
from fastdiff.methods.base import LogitNormal
from fastdiff.methods.ctm import CTM
from fastdiff.methods.meanflow import IMF, MeanFlow
from fastdiff.methods.shortcut import Shortcut
from fastdiff.networks import mlp
from fastdiff.runs import recipe
from fastdiff.samplers.plan import plan
from tests.helpers.flow_maps import average, energy, exact, gaussian, trained
from tests.helpers.oracles import MIDDLE, POINT, Dropping, batch_of, constant
from tests.helpers.paths import ROOT

NAMES = ("meanflow", "imf", "shortcut", "ctm")


def test_the_closed_form_is_the_flow_map():
    """k z is the velocity at r = t, and two jumps in a row are one."""
    t, r = torch.tensor([0.9, 0.4, 1.0]).double(), torch.tensor([0.3, 0.1, 0.0]).double()
    oracle, z = gaussian(Flow()), torch.tensor([[0.7], [-1.0], [2.0]]).double()
    p = oracle(z, t)
    torch.testing.assert_close(like(average(t, t), z) * z, p.eps - p.x0)
    m, step = (t + r) / 2, lambda z, t, r: z - like((t - r) * average(t, r), z) * z
    torch.testing.assert_close(step(step(z, t, m), m, r), step(z, t, r))
    schedule = Cosine()  # and so it is where a student is on another schedule
    own = [schedule.time_of(u / (1 - u)) for u in (t, r)]
    far, near = (like(sum(schedule.alpha_sigma(time)), z) for time in own)
    torch.testing.assert_close(schedule.mix(*exact(schedule)(far * z, *own), own[1]) / near, step(z, t, r))


# ---- all of them


@pytest.mark.parametrize("name", NAMES)
def test_at_rest_with_dropout_and_labels(name):
    """One data point, a network with dropout whose output is the point: no loss;
    and the condition reaches every pass."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.conds = nn.Dropout(0.5), []

        def forward(self, x, t, s=None, cond=None):
            self.conds.append((len(x), cond["label"]))
            return POINT.expand_as(x) + 0 * self.drop(x)

    net, labels = Noisy(), torch.arange(64) % 3
    student = Denoiser(net, Flow(), "x0", (2,), time_input="time", two_times=True).train()
    nets = {"student": student, "target": student, "teacher": constant(POINT, Flow(), "velocity")}
    loss, _ = METHODS[name]().loss(
        ("student",), nets, batch_of(POINT.repeat(64, 1), cond={"label": labels}), MIDDLE
    )
    assert abs(loss) < 1e-12
    assert all(n == len(label) for n, label in net.conds) and torch.equal(net.conds[0][1][:64], labels)


@pytest.mark.parametrize(
    "method",
    [MeanFlow(p=0.0, share=0.0), IMF(p=0.0, share=0.0), MeanFlow(p=0.0, differences=0.01)],
    ids=["meanflow", "imf", "differences"],
)
def test_passes_share_their_dropout_mask(method):
    """u of both passes is of one mask, as the derivative's own value says."""
    torch.manual_seed(0)
    net = Dropping(2, 16, 1, two_times=True)
    nn.init.normal_(net.last.weight)
    student = Denoiser(net, Cosine(), "v", (2,), two_times=True).train()
    before = torch.random.get_rng_state()
    method.loss(("student",), {"student": student}, batch_of(torch.randn(16, 2)), MIDDLE)
    masks = net.masks
    assert len(masks) == (3 if method != MeanFlow(p=0.0, share=0.0) else 2)
    assert all(torch.equal(mask, masks[0]) for mask in masks) and 0 < masks[0].mean() < 2
    assert not torch.equal(torch.random.get_rng_state(), before)  # and the next step gets another


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanFlow(share=1.0), "share = 1.0"),
        (lambda: MeanFlow(p=-1.0), "p = -1.0"),
        (lambda: IMF(c=0.0), "c = 0.0"),
        (lambda: IMF(differences=1.0), "differences"),
        (lambda: Shortcut(steps=100), "steps = 100: expected a power of two"),
        (lambda: Shortcut(steps=1), "steps = 1"),
        (lambda: Shortcut(share=0.0), "share = 0.0"),
        (lambda: Shortcut(mu=1.0), "mu = 1.0"),
        (lambda: CTM(points=1), "points = 1"),
        (lambda: CTM(mu=-0.1), "mu = -0.1"),
        (lambda: CTM(dsm=-1.0), "dsm = -1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_its_recipe_and_its_sampler(name):
    loaded = recipe.load(ROOT / f"recipes/methods/{name}.yaml")
    (stage,) = loaded.stages
    assert stage.method_name == name and (stage.teacher or stage.init) == "checkpoints/digits-labels/teacher"
    student = stage.method.student(
        Denoiser(mlp((2,), width=8), Cosine(), "v", (2,), sampling=stage.method.sampling())
    )
    assert (
        student.two_times
        and [plan(student, None, k, None).sampler for k in student.sampling.steps] == ["ddim"] * 4
    )


# ---- learning


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "clock", "share"),
    [
        (MeanFlow(), "time", 0.3),
        (MeanFlow(differences=0.03), "timestep", 0.4),
        (IMF(times=LogitNormal(-2.0, 2.0), share=0.25, p=0.75, c=1e-3), "time", 0.5),
        (Shortcut(mu=0.95), "timestep", 0.3),
        (CTM(points=9, mu=0.95), "timestep", 0.15),
    ],
    ids=["meanflow", "meanflow-differences", "imf", "shortcut", "ctm"],
)
def test_it_learns_the_toy(method, clock, share, starts, tmp_path):
    student = trained(method, starts[clock], tmp_path, lr=2e-3)
    before, (one, two) = energy(starts[clock], 1), (energy(student, k) for k in (1, 2))
    print(type(method).__name__, clock, round(before, 4), round(one / before, 4), round(two / before, 4))
    assert one < share * before
    assert two < (
        share * before if isinstance(method, CTM) else one
    )  # CTM's two steps are as good as its one
