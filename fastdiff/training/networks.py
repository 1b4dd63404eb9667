"""The networks of a training by role, and the steps that prepare them."""

from copy import deepcopy

from accelerate import Accelerator
from torch import nn

from ..core.denoiser import Denoiser
from ..networks import lora
from .averages import Averages
from .config import TrainConfig
from .method import Nets, Teachable, Turn
from .placement import data_parallel, gather_shards, halve, offload, recompute, shard
from .weights import Tensors, changing, load_changing, with_prefix, without_prefix


class TrainingNetworks:
    """The networks of a training: the student, others that learn, averages, and frozen ones.

    The steps `adapt`, `copy`, `place` and `wrap` prepare them, in this order; see loop.Training.

    Args:
        student: the network that is trained.
        teacher: the frozen network that the method learns from, if any.
        config: the settings of the training.
        accelerator: accelerator of this process.

    Attributes:
        untrained_parameter_names: names of the student's weights that an adapter leaves frozen; they are not
            averaged or saved.
        averages: running averages of the student.
        trained: the student and the method's extra networks; those with weights to be trained are roles.
        frozen: the averages, the method's frozen networks and the teacher.
        ddp: the trained networks as a loss calls them in their turn: under DDP, if there are several
            processes and the networks are not in shards.
        export_model: the whole model that `result` fills.
    """

    untrained_parameter_names: frozenset[str]
    averages: Averages
    trained: Nets
    frozen: Nets
    ddp: Nets
    export_model: Denoiser

    def __init__(
        self, student: Denoiser, teacher: Denoiser | None, config: TrainConfig, accelerator: Accelerator
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.config = config
        self.accelerator = accelerator

    def adapt(self) -> None:
        """Make the student's weights trainable, or add an adapter (LoRA) and train only that."""
        self.student.train().requires_grad_(True)
        if self.config.lora:
            lora.adapt(self.student, self.config.lora)
        self.untrained_parameter_names = frozenset(
            name for name, p in self.student.named_parameters() if not p.requires_grad
        )

    def copy(self, method: Teachable) -> None:
        """Create the averages and the method's networks, then convert the teacher to bfloat16 if set."""
        self.averages = Averages(
            self.student, self.config.ema, method.target_emas(), self.untrained_parameter_names
        )
        self.trained = {"student": self.student, **method.trainable_networks(self.student, self.teacher)}
        self.frozen = self.averages.nets() | method.frozen_networks(self.student, self.teacher)
        if self.teacher is not None:
            self.frozen["teacher"] = self.teacher.eval().requires_grad_(False)
            if self.config.teacher_dtype == "bfloat16":
                halve(self.teacher)

    def place(self) -> None:
        """Move every network to the device, into shards over the processes, or into main memory."""
        device = self.accelerator.device
        average = self.averages.ema
        self.export_model = deepcopy(average) if self.in_shards(average) else average
        if self.config.gradient_checkpointing:
            recompute(self.student)
        distinct = {id(net): net for net in (*self.frozen.values(), *self.trained.values())}
        for net in distinct.values():
            in_main_memory = self.config.offload and net is self.teacher
            if self.in_shards(net):
                net.to("cpu" if in_main_memory else device)
                shard(net, device, in_main_memory)
            elif in_main_memory:
                offload(net, device)
            else:
                net.to(device)

    def wrap(self) -> None:
        """Wrap the networks that learn in DDP."""
        self.ddp = {
            role: data_parallel(net, self.accelerator) if learns(net) and not self.in_shards(net) else net
            for role, net in self.trained.items()
        }

    def in_shards(self, net: nn.Module) -> bool:
        """Return whether a network is split over processes: models are, other networks are small."""
        several = self.accelerator.num_processes > 1
        return self.config.shard and several and isinstance(net, Denoiser)

    def of_turn(self, turn: Turn) -> Nets:
        """Return all networks by role, as the loss of a turn calls them."""
        return self.frozen | self.trained | {role: self.ddp[role] for role in turn}

    def changing(self) -> Nets:
        """Return the networks that change during training, by role."""
        return self.trained | self.averages.nets()

    def result(self) -> Denoiser:
        """Return the exported average as one whole model; every process must call this at the same time."""
        if self.in_shards(self.averages.ema):
            weights = self.averages.ema.state_dict()
            self.export_model.load_state_dict({name: gather_shards(value) for name, value in weights.items()})
        return self.export_model

    def state_dict(self) -> Tensors:
        """Return all tensors that change, named `role.parameter`; shards if the networks are in shards."""
        tensors: Tensors = {}
        for role, net in self.trained.items():
            tensors |= with_prefix(role, changing(net, self._untrained(role)))
        return tensors | self.averages.state_dict()

    def load_state_dict(self, tensors: Tensors) -> None:
        """Load whole tensors that `state_dict` returned."""
        for role, net in self.trained.items():
            load_changing(net, without_prefix(role, tensors), self._untrained(role))
        self.averages.load_state_dict(tensors)

    def _untrained(self, role: str) -> frozenset[str]:
        return self.untrained_parameter_names if role == "student" else frozenset()


def learns(net: nn.Module) -> bool:
    """Return whether a network has weights that are trained."""
    return any(p.requires_grad for p in net.parameters())
