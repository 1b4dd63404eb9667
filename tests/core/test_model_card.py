"""What `print` shows of a model, of its prediction and of a guided model: short, and without computing."""

import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.guidance import Guided
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import DDPM, Cosine, Karras
from fastdiff.networks import mlp, unet


def test_the_card_of_a_model_says_what_it_is_in_at_most_eight_lines():
    net = mlp((2,), width=16)
    model = Denoiser(net, Cosine(), "v", (2,), sampling=Sampling("ddim[eta=0.5]", "trailing", (4, 2), True))
    count = sum(parameter.numel() for parameter in net.parameters())
    assert str(model).splitlines() == [
        f"Denoiser of MLP, {count:,} parameters",
        "  schedule: Cosine(t_max=1.0)",
        "  predicts: v, from the time input timestep",
        "  sample shape: (2,)",
        "  sampler: ddim[eta=0.5] at 4 or 2 steps, no others, spacing trailing",
    ]


def test_the_card_names_further_inputs():
    net = unet((1, 8, 8), 10, channels=(8, 8), groups=4)
    model = Denoiser(net, DDPM(betas=(0.01,) * 1000), "eps", (1, 8, 8), sampling=Sampling(steps=(1,)))
    lines = str(with_guidance(with_second_time(model), (1.0, 4.0))).splitlines()
    assert len(lines) <= 8 and max(map(len, lines)) <= 110
    assert lines[0].startswith("Denoiser of UNet, ")
    assert "  further inputs: 10 classes, a second time, guidance from 1 to 4" in lines
    assert lines[-1] == "  sampler: ddim at 1 step, spacing uniform"


def test_the_card_of_a_model_on_another_schedule_without_a_shape():
    model = Denoiser(torch.nn.Linear(2, 2), Cosine(), "v").with_schedule(Karras())
    first, schedule, _, shape, _ = str(model).splitlines()
    assert (first, schedule) == (
        "RescheduledDenoiser of Linear, 6 parameters",
        "  schedule: Karras(t_max=80.0)",
    )
    assert shape == "  sample shape: unknown"


def test_with_schedule_is_also_called_on():
    model = Denoiser(torch.nn.Linear(2, 2), Cosine(), "v")
    flow = model.on(Karras())
    assert flow.schedule == Karras() and flow.on(Cosine()) is model


def test_a_prediction_shows_its_shape_and_stays_lazy():
    model = Denoiser(mlp((2,), width=16), Cosine(), "v", (2,))
    p = model(torch.zeros(3, 2), torch.tensor(0.5, dtype=torch.float64))
    assert repr(p) == "RawPrediction(shape=(3, 2), float32, cpu)" and "x0" not in vars(p)


def test_a_guided_model_shows_its_condition_and_settings():
    model = Denoiser(mlp((2,), 3, width=16), Cosine(), "v", (2,))
    cond = {"label": torch.tensor([0, 1])}
    denoise = Guided(model, cond, model.null(cond), 2.0, rescale=0.5)
    t = torch.tensor(0.5, dtype=torch.float64)
    denoise(torch.zeros(2, 2), t, t)
    assert repr(denoise) == "Guided(MLP, condition: label, guidance=2, rescale=0.5, nfe=2)"
    assert (
        repr(Guided(model, against=model)) == "Guided(MLP, condition: none, guidance=1, against=MLP, nfe=0)"
    )


def test_the_card_of_a_model_names_its_bounds_and_its_end():
    own = Sampling("ddim", "leading", (50,), clip=1.0, keep_eps=True, end=(0.99, 0.1))
    last = str(Denoiser(mlp((2,), width=16), DDPM(), "eps", (2,), sampling=own)).splitlines()[-1]
    assert last.endswith(
        "spacing leading; |x0| at most 1; eps kept where x0 is bounded; ending at alpha 0.99, sigma 0.1"
    )
