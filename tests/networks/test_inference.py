"""Faster ways to run a network: tuning keeps what is computed."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.networks import mlp, unet
from fastdiff.networks.inference import tune
from fastdiff.samplers.generate import sample


@pytest.mark.parametrize(
    "how",
    [{"channels_last": True}, {"precision": "bf16"}, pytest.param({"compile": True}, marks=pytest.mark.long)],
)
def test_tuning_keeps_what_is_computed(how):
    torch.manual_seed(0)
    net = unet((1, 8, 8), channels=(8,), layers=1, groups=4).eval().requires_grad_(False)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8))
    plain = sample(model, "ddim", steps=3, n=4)
    if "compile" in how:
        pytest.importorskip("torch._inductor")
        try:
            tuned = sample(tune(model, **how), "ddim", steps=3, n=4)
        except torch._inductor.exc.InductorError as error:
            pytest.skip(f"no compiler here: {str(error).splitlines()[0]}")
    else:
        tuned = sample(tune(model, **how), "ddim", steps=3, n=4)
    assert tuned.dtype == torch.float32
    torch.testing.assert_close(tuned, plain, rtol=0, atol=0.05 if "precision" in how else 1e-5)


def test_an_unknown_precision_is_refused():
    model = Denoiser(mlp((2,), width=8), Cosine(), "v", (2,))
    with pytest.raises(FastdiffError, match="precision 'half' is unknown, choose from no, bf16, fp16"):
        tune(model, "half")


def test_the_precision_is_the_networks_alone():
    net = mlp((2,), width=8, depth=1)
    torch.nn.init.normal_(net.last.weight)
    model, seen = Denoiser(net, Cosine(), "v", (2,)).eval(), []
    net.last.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    sample(tune(model, "bf16"), "ddim", steps=2, n=3)
    assert seen == [torch.bfloat16] * 2 and {p.dtype for p in net.parameters()} == {torch.float32}
