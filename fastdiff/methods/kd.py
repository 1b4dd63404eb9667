"""Knowledge distillation (Luhman & Luhman 2021): one step maps stored noise to the teacher's sample."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..data.batch import Batch
from .base import Distance, Loss, Method, Nets, Progress, SquaredL2, Turn, per_sample, unwrap


@dataclass
class KD(Method):
    """KD (Luhman & Luhman 2021): one step from stored noise is trained to equal the teacher's sample.

    The loss is distance(x0(eps, t_max), x0_teacher(eps)). The student is trained at t_max only and sampled in
    one step only. Needs stored pairs.

    Args:
        distance: distance from the teacher's samples, a key of DISTANCES.
    """

    distance: Distance = SquaredL2()

    needs_pairs: ClassVar[bool] = True

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule
        # 1. Take a stored pair (eps, x0) of the teacher's solver.
        eps = paired_noise(batch, "kd")
        # 2. Jump from noise at t_max to 0.
        t = torch.full((len(eps),), schedule.t_max, dtype=torch.float64, device=eps.device)
        z = schedule.alpha_sigma(t[0])[1] * eps
        x0 = nets["student"](z, t, torch.zeros_like(t), batch.cond).x0
        # 3. The distance between the two.
        error = per_sample((x0 - batch.x0).detach().square()).mean().sqrt()
        return self.distance(x0, batch.x0).mean(), {"error": error}

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1,), only=True)


def paired_noise(batch: Batch, name: str) -> Tensor:
    """Return the noise (B, ...) from which a batch of stored pairs was generated.

    Args:
        batch: batch of pairs.
        name: name of the method, for the error.

    Raises:
        FastdiffError: if the data are not pairs.
    """
    if batch.eps is None:
        raise FastdiffError(
            f"method {name} learns from stored pairs of noise and sample, and these data have no noise: "
            "add a stage with pairs and name it as data"
        )
    return batch.eps
