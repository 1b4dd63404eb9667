"""Networks of plugins: built by name, stored with the name and its options, refused if they cannot be."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.network import Network
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.io.fingerprint import fingerprint
from fastdiff.io.load import load, read_metadata
from fastdiff.networks import KINDS, MLP, NETWORKS, build, mlp
from fastdiff.networks.own import check_storable, is_own, module_of


class Own(nn.Module):
    """A plain module with a buffer and a weight that it holds twice."""

    def __init__(self, shape, classes=0, *, width: int = 4):
        super().__init__()
        self.first = nn.Linear(shape[0], width)
        self.same = self.first
        self.last = nn.Linear(width, shape[0])
        self.register_buffer("count", torch.tensor(width))

    def forward(self, x, t, s=None, cond=None):
        return self.last(self.first(x).tanh()) * self.count


class Extensible(Network):
    """A network with classes, which can be given both further inputs."""

    def __init__(self, shape, classes=0):
        super().__init__()
        self.null_label = classes or None
        self.last = nn.Linear(shape[0], shape[0])
        self.inputs = nn.ParameterDict()

    def extended(self, name):
        net = deepcopy(self)
        net.inputs[name] = nn.Parameter(torch.zeros(()))
        return net

    def with_second_time(self):
        return self.extended("s")

    def with_guidance(self):
        return self.extended("guidance")

    def forward(self, x, t, s=None, cond=None):
        return self.last(x) + sum(self.inputs.values())


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(NETWORKS, "own", Own)
    monkeypatch.setitem(NETWORKS, "extensible", Extensible)


def denoiser(net):
    return Denoiser(net, Cosine(), "v", (2,))


def stored(model, folder):
    folder.mkdir(exist_ok=True)
    export(model, folder, {"method": "denoising"})
    return load(folder)


def test_a_network_is_stored_and_loaded_again(tmp_path):
    model = denoiser(build("own", (2,), width=5))
    again = stored(model, tmp_path / "own")
    x, t = torch.randn(3, 2), torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(again(x, t).x0, model(x, t).x0) and again.net.same is again.net.first
    notes = read_metadata(tmp_path / "own")
    assert notes["network"] == "own" and notes["built_with"] == {
        "options": {"width": 5},
        "classes": 0,
        "added": [],
    }
    assert [path.name for path in (tmp_path / "own/network").iterdir()] == ["model.safetensors"]
    assert fingerprint(tmp_path / "own") == notes["weights"]
    card = (tmp_path / "own/README.md").read_text()
    assert "library_name: fastdiff" in card and "A plugin registers the network, own" in card
    stored(again, tmp_path / "again")  # what is loaded can be stored
    assert fingerprint(tmp_path / "again") == notes["weights"]


def test_without_the_plugin_it_is_named_and_another_version_is_not_called_damaged(tmp_path, monkeypatch):
    stored(denoiser(build("own", (2,))), tmp_path / "own")
    for width in (3, 9):
        monkeypatch.setitem(NETWORKS, "own", lambda shape, classes=0, own=width: Own(shape, width=own))
        with pytest.raises(FastdiffError, match="network does not have the stored weights .*version"):
            load(tmp_path / "own")
    monkeypatch.delitem(NETWORKS, "own")
    with pytest.raises(
        FastdiffError, match=r"own needs network own, which no plugin has registered; pass --plugin"
    ):
        load(tmp_path / "own")


def test_inputs_that_a_method_adds_are_added_again(tmp_path):
    model = with_second_time(with_guidance(denoiser(build("extensible", (2,), 3)), (1.0, 5.0)))
    assert model.net.blueprint.added == ("with_guidance", "with_second_time")
    again = stored(model, tmp_path / "own")
    assert again.two_times and again.guidance == (1.0, 5.0) and again.classes == 3
    assert set(again.net.inputs) == {"s", "guidance"}


def test_networks_of_fastdiff_are_not_own():
    net = mlp((2,), width=4)
    assert not is_own(net) and module_of(net) is net and not is_own(build("mlp", (2,)))
    check_storable(net, (2,))


class Wider(MLP):
    """A network with an inherited name, which would be loaded as another."""


def test_a_network_that_cannot_be_stored_is_refused(monkeypatch):
    def refused(net, line):
        with pytest.raises(FastdiffError, match=line):
            check_storable(net, (2,))

    def add(name, make):
        monkeypatch.setitem(NETWORKS, name, make)
        return build(name, (2,))

    refused(Own((2,)), "^Own has no file format: expected one of fastdiff.networks, or a network that is reg")
    refused(Wider(), "^Wider has no file format")
    refused(add("flux", Own), "^network flux cannot be stored: fastdiff's own network has this name")
    widths = iter(range(3, 99))
    random = add("random", lambda shape, classes=0: Own(shape, width=next(widths)))
    refused(random, r"^network random cannot be stored: built again .* it has other weights \(first.weight\)")
    odd = add("odd", Own)
    odd.register_buffer("sparse", torch.zeros(2).to_sparse())
    refused(odd, "sparse in its state_dict is not a dense tensor")
    monkeypatch.setitem(NETWORKS, "optional", lambda shape, classes=0, kind=None: Own(shape))
    refused(build("optional", (2,), kind=Own), "its options are not plain data")
    assert "flux" in KINDS


def test_an_adapter_on_an_own_network(tmp_path):
    pytest.importorskip("peft")
    from fastdiff.networks.lora import Lora, adapt

    model = denoiser(build("extensible", (2,)))
    adapt(model, Lora(rank=1, targets=("last",)))
    again = stored(model, tmp_path / "own")
    assert (tmp_path / "own/lora/adapter_model.safetensors").exists()
    x, t = torch.randn(3, 2), torch.tensor(0.5, dtype=torch.float64)
    assert torch.allclose(again(x, t).x0, model(x, t).x0)
