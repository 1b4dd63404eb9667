"""Students with text: a weight of guidance and a second time that change nothing until they are learned."""

import torch
from diffusers import LatentConsistencyModelPipeline, UNet2DConditionModel

from fastdiff.methods.jvp import jvp
from fastdiff.networks import TextUNet
from tests.helpers.text_unets import TEXT, S, T, X, drawn, kinds, of, small

# ---- the weight of guidance


@kinds
@torch.no_grad()
def test_a_network_told_its_guidance_begins_as_it_was(kind):
    net, cond = of(kind)
    told = net.with_guidance()
    assert told.module.config.time_cond_proj_dim == 256 and not told.training and told.channels == 4
    asked = cond | {"guidance": torch.tensor([1.0, 7.5, 3.3])}
    assert torch.equal(told(X, T, None, asked), net(X, T, None, cond))
    torch.nn.init.normal_(told.module.time_embedding.cond_proj.weight, std=0.1)
    assert (told(X, T, None, asked) - net(X, T, None, cond)).abs().amax((1, 2, 3)).min() > 1e-4
    assert torch.equal(told(X, T, None, cond), told(X, T, None, cond | {"guidance": torch.ones(3)}))


@torch.no_grad()
def test_the_weight_is_said_as_lcm_says_it():
    net = TextUNet.of(small(time_cond_proj_dim=16), (4, 8, 8), True).eval()
    weights = torch.tensor([1.0, 7.5, 3.3])
    waves = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, weights - 1, 16)
    ours = net(X, T, None, {"text": TEXT, "guidance": weights})
    torch.testing.assert_close(ours, net.module(X, T, TEXT, timestep_cond=waves).sample, rtol=0, atol=1e-5)
    in_double = {"text": TEXT.double(), "guidance": weights}
    torch.testing.assert_close(net.double()(X.double(), T, None, in_double).float(), ours, rtol=0, atol=1e-4)


# ---- the second time


@kinds
@torch.no_grad()
def test_a_network_of_two_times_begins_as_it_was(kind):
    net, cond = of(kind)
    student = net.with_second_time()
    assert (student.null_label, student.condition_channels, student.channels) == (
        net.null_label,
        net.condition_channels,
        4,
    )
    assert (student.module.config.in_channels - net.module.config.in_channels == 16) == (kind == "labels")
    for s in (S, T, None):
        torch.testing.assert_close(student(X, T, s, cond), net(X, T, None, cond), rtol=0, atol=1e-5)
    both = student.with_guidance()
    torch.testing.assert_close(
        both(X, T, S, cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])}),
        net(X, T, None, cond),
        rtol=0,
        atol=1e-5,
    )


@kinds
def test_every_weight_of_a_student_is_learned(kind):
    net, cond = of(kind)
    student, cond = net.with_second_time().with_guidance(), cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])}
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    for _ in range(2):  # the first step lets gradients through to the rest
        student(X, T, S, cond).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [k for k, v in student.state_dict().items() if not (v != before[k]).any()] == []
    said = [student(X, T, s, cond) for s in (S, S + 100, T)]
    assert min((a - b).abs().max() for i, a in enumerate(said) for b in said[:i]) > 1e-4
    assert torch.equal(student(X, T, None, cond), student(X, T, T, cond))


@kinds
@torch.no_grad()
def test_a_stored_student_is_told_from_its_settings(kind, tmp_path):
    net, cond = of(kind)
    student = net.with_second_time().with_guidance()
    student.module.save_pretrained(tmp_path)
    back = TextUNet.of(UNet2DConditionModel.from_pretrained(tmp_path), (4, 8, 8), True).eval()
    assert (back.jumps, back.condition_channels, back.null_label) == (
        student.jumps,
        net.condition_channels,
        net.null_label,
    )
    assert torch.equal(back(X, T, S, cond), student(X, T, S, cond))


@torch.no_grad()
def test_settings_that_diffusers_does_not_know_are_no_hindrance():
    net, cond = of("text")
    net.module.register_to_config(of_another_version=True)
    assert torch.equal(net.with_second_time()(X, T, S, cond), net(X, T, None, cond))


@kinds
def test_the_forward_derivative(kind):
    """Of consistency in continuous time and mean flows, against central differences."""
    net, cond = of(kind)
    student, x = net.with_second_time().double(), X.double()
    for p in student.parameters():
        torch.nn.init.normal_(p, std=0.1)
    t, s, one, dx = (
        T.double() / 10,
        S.double() / 10,
        torch.ones(3, dtype=torch.float64),
        drawn(3, 4, 8, 8, seed=4).double(),
    )
    value, derivative = jvp(lambda x, t, s: student(x, t, s, cond), (x, t, s), (dx, one, one / 2))
    at = lambda h: student(x + h * dx, t + h, s + h / 2, cond)  # noqa: E731
    with torch.no_grad():
        torch.testing.assert_close(value, at(0))
        torch.testing.assert_close(derivative, (at(1e-4) - at(-1e-4)) / 2e-4, rtol=1e-3, atol=1e-3)
    assert derivative.abs().max() > 0.1


@kinds
@torch.no_grad()
def test_in_bfloat16(kind):
    net, cond = of(kind)
    student, cond = net.with_second_time().with_guidance(), cond | {"guidance": torch.tensor([1.0, 2.0, 9.0])}
    half = student.to(torch.bfloat16)(X.bfloat16(), T.bfloat16(), S.bfloat16(), cond)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), net.float()(X, T, None, cond), rtol=0.3, atol=0.3)
