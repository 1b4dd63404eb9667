"""The state of one network: its weights and buffers by name, without those that never change."""

from collections.abc import Collection

from torch import Tensor, nn

from .placement import distribute

Tensors = dict[str, Tensor]


def changing(net: nn.Module, untrained: Collection[str] = ()) -> Tensors:
    """Return a network's state without the parameters named in `untrained`."""
    return {name: value for name, value in net.state_dict().items() if name not in untrained}


def load_changing(net: nn.Module, tensors: Tensors, untrained: Collection[str] = ()) -> None:
    """Load whole tensors that `changing` returned into a network that may be in shards."""
    own = changing(net, untrained)
    net.load_state_dict(
        {name: distribute(tensors[name], place) for name, place in own.items()}, strict=not untrained
    )


def with_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors with their names changed to `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors named `prefix.name` under their names without the prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
