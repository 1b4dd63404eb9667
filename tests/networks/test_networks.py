"""Networks: shapes, labels and messages; closed-form teachers against brute force."""

import math
from copy import deepcopy

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import DDPM, SCHEDULES, Cosine, Flow, Karras, Trig
from fastdiff.networks import MLP, UNet, dit, mlp, unet
from fastdiff.networks.oracle import GaussianMixture, Points
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.training.placement import halve

schedules = pytest.mark.parametrize(
    "schedule", [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.5)], ids=repr
)
SMALL = {"channels": (8, 16), "layers": 1, "groups": 4}


def f64(x):
    return torch.tensor(x, dtype=torch.float64)


# ---- unet and mlp


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 4), (2, 16, 16)])
@pytest.mark.parametrize("attention", [(), (8,)])
def test_unet_keeps_the_shape(shape, attention):
    net = unet(shape, **SMALL, attention=attention, dropout=0.1).eval()
    x = torch.randn(2, *shape)
    out = net(x, torch.tensor([3.0, 999.0]))
    assert out.shape == x.shape and net.null_label is None and net.module.config.num_class_embeds is None
    torch.testing.assert_close(out[1:], net(x[1:], torch.tensor([999.0])), rtol=1e-4, atol=1e-5)
    assert (out[1:] - net(x[1:], torch.tensor([3.0]))).abs().max() > 1e-4
    assert all(p.numel() for p in net.parameters())
    assert ("Attn" in "".join(net.module.config.down_block_types)) == bool(attention)


@pytest.mark.parametrize("make", [lambda: unet((1, 8, 8), 3, **SMALL).eval(), lambda: mlp((2,), 3, width=16)])
def test_no_label_is_the_null_label(make):
    torch.manual_seed(0)
    net = make()
    if isinstance(net, MLP):
        torch.nn.init.normal_(net.last.weight)
    x, t = torch.randn(4, *((2,) if isinstance(net, MLP) else (1, 8, 8))), torch.full((4,), 10.0)
    assert net.null_label == 3
    say = lambda label: net(x, t, None, {"label": torch.full((4,), label)})  # noqa: E731
    assert torch.equal(net(x, t), say(3))
    assert all(not torch.allclose(net(x, t), say(label), atol=1e-4) for label in range(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp((2,), 3, width=32),
        lambda: unet((1, 8, 8), 3, **SMALL),
        lambda: dit((1, 8, 8), 3, depth=2, width=16, heads=2),
    ],
    ids=["mlp", "unet", "dit"],
)
@pytest.mark.parametrize("more", [(), ("two",), ("guided",), ("two", "guided")], ids=" ".join)
def test_a_network_kept_in_bfloat16_answers_nearly_the_same(make, more):
    """Half of the memory, its times apart, and a gradient of x."""
    torch.manual_seed(0)
    net = make()
    net = net.with_second_time() if "two" in more else net
    net = net.with_guidance() if "guided" in more else net
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3 if p.ndim < 2 else p[0].numel() ** -0.5)
    shape = (2,) if isinstance(net, MLP) else (1, 8, 8)
    whole = Denoiser(net, DDPM(), "v", shape, two_times="two" in more).eval().requires_grad_(False)
    half = deepcopy(whole)
    halve(half)
    assert sum(p.nbytes for p in half.parameters()) * 2 == sum(p.nbytes for p in whole.parameters())
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    x, cond = (
        torch.randn(4, *shape),
        {"label": torch.arange(4), "guidance": torch.tensor([1.0, 2.0, 3.0, 4.0])},
    )
    near = []
    for t in (f64(1000.0), f64(999.0), f64([3.0, 500.0, 998.0, 999.0])):
        one, two = (model.raw(x, t, t / 2, cond) for model in (whole, half))
        assert two.dtype == torch.float32 and (one - two).norm() < 0.03 * one.norm() > 0
        near.append(two)
    assert not torch.equal(*near[:2])
    x.requires_grad_()
    slope, other = (
        torch.autograd.grad(model(x, t, t / 2, cond).x0.square().sum(), x)[0] for model in (whole, half)
    )
    assert (slope - other).norm() < 0.1 * slope.norm()


def test_mlp_sees_the_time_and_starts_at_zero():
    net = mlp((5,), width=16, depth=2)
    x = torch.randn(3, 5)
    assert torch.equal(net(x, torch.zeros(3)), net.last.bias.expand(3, 5)) and net.null_label is None
    assert net.module is net and len(net.blocks) == 2
    torch.nn.init.normal_(net.last.weight)
    apart = [net(x, torch.full((3,), t)) for t in (0.0, 1.0, 500.0, 501.0)]
    assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(apart) for b in apart[:i])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: unet((2,)), r"unet expects images \(C, H, W\), the data have shape \(2,\); use mlp"),
        (lambda: unet((1, 28, 28), channels=(8, 8, 8, 8)), "4 resolutions cannot halve images of 28 x 28"),
        (lambda: unet((1, 8, 6), channels=(8, 8, 8)), "3 resolutions cannot halve images of 8 x 6"),
        (lambda: unet((1, 8, 8), channels=(8, 12)), "12 is no multiple of the 8 groups"),
        (lambda: unet((1, 8, 8), channels=(8, 16), head=12), "head: 16 channels are no heads of 12"),
        (lambda: mlp((1, 8, 8)), r"mlp expects vectors \(D,\), the data have shape \(1, 8, 8\); use unet"),
    ],
)
def test_misfits_are_refused(build, message):
    with pytest.raises(FastdiffError, match=message):
        build()


# ---- a unet's image, and what else it is made of


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("image", [1, 3, 15])
@torch.no_grad()
def test_an_image_is_told_from_planes(image, classes):
    """Students keep what the teacher saw, in its place, and are told apart by their channels alone."""
    torch.manual_seed(0)
    net = unet((2, 8, 8), classes, **SMALL, image=image).eval()
    x, t, s = torch.randn(3, 2, 8, 8), torch.tensor([999.0, 340.0, 1.5]), torch.tensor([500.0, 0.0, 0.0])
    cond = {"image": torch.randn(3, image, 8, 8), "guidance": torch.tensor([1.0, 2.0, 9.0])}
    told = {"class_labels": torch.full((3,), 3)} if classes else {}
    torch.testing.assert_close(
        net(x, t, None, cond), net.module(torch.cat([x, cond["image"]], 1), t, **told).sample
    )
    for student, two, guided in (
        (net.with_second_time(), True, False),
        (net.with_guidance(), False, True),
        (net.with_second_time().with_guidance(), True, True),
        (net.with_guidance().with_second_time(), True, True),
    ):
        assert (student.condition_channels, student.channels, student.learned_variance) == (image, 2, False)
        torch.testing.assert_close(student(x, t, s, cond), net(x, t, None, cond), rtol=0, atol=1e-5)
        for p in student.parameters():
            torch.nn.init.normal_(p, std=0.3)
        back = UNet.of(student.module, (2, 8, 8), guided)
        assert (back.condition_channels, back.jumps or back.embedded) == (image, two)
        assert torch.equal(back(x, t, s, cond), student(x, t, s, cond))
        others = {"image": cond["image"].flip(0), "guidance": cond["guidance"] + guided}
        for changed in ({"image": others["image"]}, {"guidance": others["guidance"]} if guided else {}):
            assert torch.equal(student(x, t, s, cond | changed), student(x, t, s, cond)) == (not changed)
        assert torch.equal(student(x, t, s, cond), student(x, t, t, cond)) == (not two)


@torch.no_grad()
def test_an_image_is_brought_to_the_size_of_x():
    net, x, t = unet((1, 8, 8), **SMALL, image=1).eval(), torch.randn(2, 1, 8, 8), torch.tensor([3.0, 999.0])
    say = lambda image: net(x, t, None, {"image": image})  # noqa: E731
    image = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(
        say(image), say(torch.nn.functional.interpolate(image, (8, 8), mode="bilinear"))
    )
    torch.testing.assert_close(say(torch.full((2, 1, 16, 16), 0.3)), say(torch.full((2, 1, 8, 8), 0.3)))
    torch.testing.assert_close(
        net.bfloat16()(x.bfloat16(), t.bfloat16(), None, {"image": image}).float(),
        net.float()(x, t, None, {"image": image}),
        rtol=0.3,
        atol=0.3,
    )
    for wrong, got in ((None, "none"), ({"image": torch.randn(2, 3, 4, 4)}, "3")):
        with pytest.raises(FastdiffError, match=f"conditioned on an image of 1 channels, got {got}"):
            net(x, t, None, wrong)


def test_scales_residual_resampling_and_heads():
    net = unet(
        (1, 8, 8), **SMALL, scale_shift=True, resampling="resnet", head=8, embedding=20, attention=(8,)
    )
    config = net.module.config
    assert (
        config.down_block_types == ("AttnDownBlock2D", "ResnetDownsampleBlock2D")
        and config.attention_head_dim == 8
    )
    x = torch.randn(2, 1, 8, 8)
    (net(x, torch.tensor([3.0, 999.0])) - x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert net.module.time_embedding.linear_2.weight.shape == (20, 20)
    assert net.module.mid_block.resnets[0].time_emb_proj.weight.shape == (32, 20)  # scales and shifts


# ---- oracle


def mixture(schedule):
    return GaussianMixture(f64([[-1.0], [0.3], [2.0]]), f64([0.2, 0.5, 0.05]), f64([2.0, 1.0, 1.0]), schedule)


@schedules
def test_mixture_is_the_posterior_mean(schedule):
    """Bayes by the trapezoid rule on a fine grid of clean data."""
    model = mixture(schedule)
    grid = torch.linspace(-4, 5, 40_001, dtype=torch.float64)
    prior = sum(
        w / std * (-((grid - mean) ** 2) / (2 * std**2)).exp()
        for w, mean, std in [(2, -1.0, 0.2), (1, 0.3, 0.5), (1, 2.0, 0.05)]
    )
    t = f64([0.05, 0.3, 0.6, 0.95]) * schedule.t_max
    x = f64([-0.7, 0.9, 1.4, -0.2])[:, None] * schedule.alpha_sigma(t)[1][:, None].clamp(min=1)
    alpha, sigma = schedule.alpha_sigma(t)
    share = prior * (-((x - alpha[:, None] * grid) ** 2) / (2 * sigma[:, None] ** 2)).exp()
    wanted = (share * grid).sum(1) / share.sum(1)
    torch.testing.assert_close(model(x, t).x0[:, 0], wanted, rtol=1e-6, atol=1e-6)
    single = torch.cat([model(x[i : i + 1], t[i]).x0 for i in range(4)])
    torch.testing.assert_close(single[:, 0], wanted, rtol=1e-6, atol=1e-6)


def test_images_are_vectors_to_the_mixture():
    g = torch.Generator().manual_seed(0)
    means, x = torch.randn(4, 2, 3, 4, generator=g).double(), torch.randn(5, 2, 3, 4, generator=g).double()
    stds, weights, t = (
        f64([0.1, 0.5, 1.0, 0.2]),
        torch.ones(4).double(),
        torch.linspace(0.2, 0.9, 5, dtype=torch.float64),
    )
    image = GaussianMixture(means, stds, weights, Flow())
    vector = GaussianMixture(means.flatten(1), stds, weights, Flow())
    assert image.shape == (2, 3, 4) and vector.shape == (24,)
    torch.testing.assert_close(image(x, t).x0.flatten(1), vector(x.flatten(1), t).x0)


def test_a_mixture_is_unbiased():
    """E[x0 - E[x0 | x]] = 0, also against functions of x (Monte Carlo)."""
    g, n = torch.Generator().manual_seed(0), 200_000
    model = mixture(Cosine())
    kind = torch.multinomial(f64([0.5, 0.25, 0.25]), n, replacement=True, generator=g)
    x0 = (f64([-1.0, 0.3, 2.0])[kind] + f64([0.2, 0.5, 0.05])[kind] * torch.randn(n, generator=g).double())[
        :, None
    ]
    t = f64(0.45)
    x = Cosine().mix(x0, torch.randn(n, 1, generator=g).double(), t)
    error = x0 - model(x, t).x0
    for probe in (torch.ones_like(x), x, x**2, (x > 0).double()):
        assert (error * probe).mean().abs() < 5 * (error * probe).std() / math.sqrt(n)


@schedules
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_points_lands_on_the_data(schedule, sampler):
    data = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = Points(data, schedule)
    times = time_grid(schedule, 60, "karras")
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x * schedule.alpha_sigma(times[0])[1]
    *_, last = SAMPLERS[sampler](Guided(model), x, times)
    distance = torch.cdist(last.x, data)
    loose = 1e-2 if sampler in ("euler", "heun") else 1e-6  # no straight paths in most schedules
    assert distance.min(1).values.max() < loose and distance.argmin(1).unique().numel() == 5


def test_points_in_float32_is_finite_down_to_the_last_ratio():
    model = Points(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), Karras())
    x = 80 * torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for state in SAMPLERS["heun"](Guided(model), x, time_grid(Karras(), 18, "karras")):
        assert state.x.isfinite().all() and state.x.dtype == torch.float32
    assert torch.cdist(state.x.flatten(1), model.net.means.flatten(1)).min(1).values.max() < 1e-2


@schedules
def test_ddim_on_a_gaussian_is_a_linear_recursion(schedule):
    mean, std = 0.7, 0.4
    model = GaussianMixture(f64([[mean]]), f64([std]), f64([1.0]), schedule)
    times = time_grid(schedule, 12)
    x = f64([[1.3], [-0.2]]) * schedule.alpha_sigma(times[0])[1]
    value = x[:, 0].tolist()
    for state, t, s in zip(SAMPLERS["ddim"](Guided(model), x, times), times[:-1], times[1:], strict=True):
        (at, st), (as_, ss) = ([float(c) for c in schedule.alpha_sigma(u)] for u in (t, s))
        gain = at * std**2 / (at**2 * std**2 + st**2)
        clean = [mean + gain * (v - at * mean) for v in value]
        value = [as_ * c + ss / st * (v - at * c) for v, c in zip(value, clean, strict=True)]
        assert state.x[:, 0].tolist() == pytest.approx(value, rel=1e-10, abs=1e-12)
        assert state.x0[:, 0].tolist() == pytest.approx(clean, rel=1e-10, abs=1e-12)


def test_the_oracle_is_where_its_buffers_are():
    model = mixture(Cosine())
    assert model.device == torch.device("cpu") and not list(model.parameters())
    assert model.to("meta").device == torch.device("meta")
    assert Denoiser(torch.nn.Identity(), Cosine(), "v").device == torch.device("cpu")
