"""DiTTransformer2DModel behind net(x, t, s, cond): labels, planes, the start of its training,
and what does not fit."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from fastdiff.methods.jvp import jvp
from fastdiff.networks import DiT, dit

X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
T, S, LABELS = torch.tensor([999.0, 340.0, 1.5]), torch.tensor([500.0, 0.0, 0.0]), torch.tensor([0, 2, 1])
KINDS = {
    "free": (0, {}),
    "labels": (3, {}),
    "image": (3, {"image": 1}),
    "variance": (0, {"learned_variance": True}),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def small(kind="free", **options):
    """A tiny network with every weight drawn, and what it is asked under."""
    torch.manual_seed(0)
    classes, more = KINDS[kind]
    net = dit((2, 8, 8), classes, depth=2, width=16, heads=2, **more, **options).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    cond = {"label": LABELS} if classes else {}
    return net, cond | ({"image": X[:, :1, ::2, ::2]} if "image" in more else {})


@torch.no_grad()
def test_it_is_diffusers_own_call():
    net, cond = small("labels")
    assert torch.equal(net(X, T, None, cond), net.module(X, T, LABELS).sample)
    assert net.null_label == 3 and torch.equal(net(X, T), net.module(X, T, torch.full((3,), 3)).sample)
    free, _ = small()
    assert free.null_label is None and torch.equal(
        free(X, T), free.module(X, T, torch.zeros(3, dtype=torch.long)).sample
    )
    assert (net(X, T, None, cond) - net(X, T)).abs().amax((1, 2, 3)).min() > 1e-4


@torch.no_grad()
def test_a_pipeline_of_diffusers_calls_the_same_network():
    net, cond = small("labels")
    model, asked = Denoiser(net, DDPM(), "eps", (2, 8, 8)), []
    net.module.register_forward_hook(lambda module, args, out: asked.append((args[0], out[0])))
    vae = AutoencoderKL(latent_channels=2, block_out_channels=(8,), norm_num_groups=4)
    pipeline = DiTPipeline(net.module, vae, DDIMScheduler(timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline(
        [0, 2, 1], guidance_scale=1.0, num_inference_steps=2, generator=torch.manual_seed(5), output_type="np"
    )
    for (x, theirs), t in zip(asked[:2], (1000.0, 500.0), strict=True):
        torch.testing.assert_close(model.raw(x, torch.tensor(t).double(), None, cond), theirs)


def test_labels_are_the_methods_to_drop():
    net, cond = small("labels")
    net.train()
    outputs = [net(X.repeat(8, 1, 1, 1), T.repeat(8), None, {"label": LABELS.repeat(8)}) for _ in range(2)]
    assert torch.equal(*outputs)
    torch.testing.assert_close(outputs[0][:3], net(X, T, None, cond))


def test_a_fresh_network_begins_at_zero_and_learns_everything():
    torch.manual_seed(0)
    net, cond = dit((2, 8, 8), 3, depth=2, width=16, heads=2), {"label": LABELS}
    assert (net(X, T, None, cond) == 0).all()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for _ in range(3):  # the output first, then the blocks' gates, then what is behind them
        (net(X, T, None, cond) - X).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [k for k, v in net.state_dict().items() if not (v != before[k]).any()] == []


@kinds
@torch.no_grad()
def test_a_student_begins_as_its_teacher_and_then_sees_more(kind, tmp_path):
    net, cond = small(kind)
    student, asked = (
        net.with_second_time().with_guidance(),
        cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])},
    )
    assert student.jumps and student.guided and not net.jumps and not student.training
    assert (student.condition_channels, student.null_label, student.learned_variance) == (
        net.condition_channels,
        net.null_label,
        net.learned_variance,
    )
    for s in (S, T, None):
        torch.testing.assert_close(student(X, T, s, asked), net(X, T, None, cond), rtol=0, atol=1e-5)
    torch.nn.init.normal_(student.module.pos_embed.proj.weight, std=0.2)
    for s, weights in ((S + 100, asked["guidance"]), (S, asked["guidance"] + 1)):
        other = student(X, T, s, cond | {"guidance": weights})
        assert (other - student(X, T, S, asked)).abs().amax((1, 2, 3)).min() > 1e-4
    student.module.save_pretrained(tmp_path)
    back = DiT.of(DiTTransformer2DModel.from_pretrained(tmp_path), (2, 8, 8), True).eval()
    assert back.jumps and torch.equal(back(X, T, S, asked), student(X, T, S, asked))


@torch.no_grad()
def test_the_image_is_seen_where_it_belongs():
    net, cond = small("image")
    large = torch.nn.functional.interpolate(cond["image"], (8, 8), mode="bilinear")
    torch.testing.assert_close(net(X, T, None, cond), net.module(torch.cat([X, large], 1), T, LABELS).sample)
    with pytest.raises(FastdiffError, match="an image of 1 channels, got none"):
        net(X, T, None, {"label": LABELS})


@torch.no_grad()
def test_learned_variance_has_channels_of_its_own():
    net, _ = small("variance")
    assert net.learned_variance and net(X, T).shape == (3, 4, 8, 8) and not small()[0].learned_variance
    torch.manual_seed(0)
    stock = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=2, num_layers=1, sample_size=8
    )
    student = DiT.of(
        stock, (2, 8, 8), False
    ).with_second_time()  # its out_channels are left to its in_channels
    assert not student.learned_variance and student.null_label == 1000 and student(X, T, S).shape == X.shape


@kinds
def test_the_forward_derivative(kind):
    """Of consistency in continuous time and mean flows, against the other way of torch to one."""
    net, cond = small(kind)
    student, x = net.with_second_time().double(), X.double()
    torch.nn.init.normal_(student.module.pos_embed.proj.weight, std=0.2)
    t, s, one, dx = T.double() / 10, S.double() / 10, torch.ones(3, dtype=torch.float64), torch.randn_like(x)
    value, derivative = jvp(lambda x, t, s: student(x, t, s, cond), (x, t, s), (dx, one, one / 2))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        theirs = torch.func.jvp(lambda x, t, s: student(x, t, s, cond), (x, t, s), (dx, one, one / 2))[1]
    torch.testing.assert_close(value, student(x, t, s, cond))
    torch.testing.assert_close(derivative, theirs)
    assert not derivative.requires_grad and derivative.abs().max() > 1e-3


@torch.no_grad()
def test_in_bfloat16():
    net, cond = small("labels")
    half, t = (
        net.with_second_time().to(torch.bfloat16),
        torch.tensor([992.0, 340.0, 1.5]),
    )  # which bfloat16 can say
    whole, rounded = net(X, t, None, cond), half(X.bfloat16(), t.bfloat16(), S.bfloat16(), cond)
    assert rounded.dtype == torch.bfloat16 and (rounded - whole).norm() < 0.1 * whole.norm()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: dit((2,)),
            r"dit: expected square images \(C, N, N\), but the data have shape \(2,\); use unet or mlp",
        ),
        (lambda: dit((1, 8, 4)), r"the data have shape \(1, 8, 4\)"),
        (lambda: dit((1, 9, 9)), "patch: 2 x 2 does not divide images of 9 x 9"),
        (lambda: dit((1, 8, 8), width=20, heads=3), "width: 20 is not a multiple of 4 and of the 3 heads"),
    ],
)
def test_misfits_are_refused(build, message):
    with pytest.raises(FastdiffError, match=message):
        build()


@pytest.mark.parametrize(
    ("shape", "guided", "message"),
    [
        ((3, 8, 8), False, r"2 to 2 channels, guided False: it cannot produce samples of shape \(3, 8, 8\)"),
        ((2, 8, 4), False, "patches of 2 x 2"),
        ((2, 9, 9), False, "patches of 2 x 2"),
        ((2,), False, "2 to 2 channels"),
        ((2, 8, 8), True, "guided True"),
    ],
)
def test_modules_of_other_shapes_are_refused(shape, guided, message):
    with pytest.raises(ValueError, match=message):
        DiT.of(small()[0].module, shape, guided)
