"""What a scheduler gives a network and takes of it: numbers that hold at all times, or none."""

import pytest
import torch

from fastdiff.core.schedule import DDPM, Cosine, Flow, Karras
from fastdiff.io.export.schedulers.description import NoMatchingSchedulerError
from fastdiff.io.export.schedulers.network import network_clock, network_input, output_factor
from tests.helpers.tiny_students import EDM, sampled, student


@pytest.mark.parametrize(
    ("schedule", "predicts", "row", "factor"),
    [
        (Cosine(), "v", "v", 1.0),
        (Cosine(), "eps", "v", None),
        (Flow(), "velocity", "velocity", 1.0),
        (Flow(), "x0", "velocity", None),
        (DDPM(), "x0", "x0", 1.0),
    ],
)
def test_an_output_is_taken_times_one_number_or_not_at_all(schedule, predicts, row, factor):
    found = output_factor(student(schedule, predicts, sampled()), row)
    assert found == (factor and pytest.approx(factor, rel=1e-9))


@pytest.mark.parametrize("time_input", ["timestep", "time"])
@pytest.mark.parametrize("schedule", [Cosine(), DDPM(), Flow()], ids=repr)
def test_the_clock_turns_a_schedulers_time_into_the_networks(schedule, time_input):
    model, seen = student(schedule, "v", sampled(), time_input=time_input), []
    model.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[1].double()))
    (a, b), end = network_clock(model, lambda t: 500 * t / schedule.t_max - 7)
    t = torch.linspace(0.1, 1, 4, dtype=torch.float64) * schedule.t_max
    model(torch.zeros(4, *model.shape), t)
    torch.testing.assert_close(
        a * (500 * t / schedule.t_max - 7) + b, seen[0], rtol=0, atol=1e-4 * float(seen[0].max())
    )
    model(torch.zeros(1, *model.shape), torch.zeros(1, dtype=torch.float64))
    assert a * end + b == pytest.approx(float(seen[1]), abs=1e-5)


def test_a_clock_that_is_not_linear_in_the_schedulers_is_refused():
    with pytest.raises(NoMatchingSchedulerError, match="the network's time input, time, is not that"):
        network_clock(student(Cosine(), "v", sampled(), time_input="time"), lambda t: t**2)


def test_the_input_is_scaled_by_one_number_or_not_at_all():
    assert network_input(student(Cosine(), "v", sampled())) == "x"
    with pytest.raises(NoMatchingSchedulerError, match="scales a network's input as sigma_data = 0.5"):
        network_input(student(Karras(), "edm", sampled(), time_input="edm", **EDM))
