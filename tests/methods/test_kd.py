"""Knowledge distillation: the student is compared where it will be sampled, with the stored sample."""

import torch

from fastdiff.core.schedule import VP, Flow
from fastdiff.methods import METHODS
from fastdiff.methods.base import L1, SquaredL2
from fastdiff.methods.kd import KD
from tests.helpers.flow_maps import SIZE, data, exact
from tests.helpers.oracles import MIDDLE, POINT, batch_of, constant


def paired(n=4096, seed=0):
    """Pairs of the Gaussian's flow, which only shrinks the noise."""
    batch = batch_of(data(n), seed)
    batch.x0 = SIZE * batch.eps
    return batch


def test_kd_asks_for_the_jump_that_sampling_makes():
    student, batch = exact(VP()), paired(64)
    KD().loss(("student",), {"student": student}, batch, MIDDLE)
    ((x, t, s, _),) = student.net.asked
    assert (t == 1).all() and (s == 0).all()
    torch.testing.assert_close(x, batch.eps * VP().alpha_sigma(t)[1][:, None])
    assert METHODS["kd"]().sampling().only and METHODS["kd"]().sampling().steps == (1,)


def test_the_loss_is_the_distance_from_the_stored_sample():
    x0 = torch.tensor([[0.3, 0.3], [0.3, -2.7]], dtype=torch.float64)
    for distance, wanted in ((SquaredL2(), (1.0 + 4.0) / 4), (L1(), (1.0 + 2.0) / 4)):
        loss, logs = KD(distance).loss(
            ("student",), {"student": constant(POINT, Flow(), "x0")}, batch_of(x0), MIDDLE
        )
        torch.testing.assert_close(loss.double(), torch.tensor(wanted).double(), rtol=1e-5, atol=0)
        torch.testing.assert_close(logs["error"].double(), torch.tensor(1.25).double().sqrt())
