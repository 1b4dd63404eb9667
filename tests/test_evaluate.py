import json
import math
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset

from fastdiff import evaluate
from fastdiff.errors import FastdiffError
from fastdiff.evaluate import (
    EnergyEvaluator,
    Statistics,
    energy_distance,
    frechet_distance,
    open_evaluator,
    open_extractor,
)
from fastdiff.pictures import to_uint8

FEATURES = Path(__file__).parents[1] / "checkpoints" / "digits" / "features"


class Tensors:
    """The least a data set offers to an evaluator."""

    def __init__(self, name, x0):
        self.name, self.x0, self.shape, self.fingerprint = name, x0, tuple(x0.shape[1:]), "feed"

    def __len__(self):
        return len(self.x0)

    def get(self, indices):
        return self.x0[indices], None


class Bytes(Dataset):
    """What torch-fidelity wants: uint8 images of three channels."""

    def __init__(self, images):
        self.images = to_uint8(images).expand(-1, 3, -1, -1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


@pytest.fixture(scope="module")
def digits():
    raw, labels = load_digits(return_X_y=True)
    return torch.tensor(raw, dtype=torch.float32).view(-1, 1, 8, 8) / 16 * 2 - 1, torch.tensor(labels)


@pytest.fixture(scope="module")
def extractor():
    return open_extractor("checkpoints/digits/features", "cpu")


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def statistics(features):
    out = Statistics(features.shape[1])
    out.add(features)
    return out


# -------------------------------------------------------------------------------------------------- pixels, features


def test_uint8_rounds_half_up_and_clamps():
    levels = torch.arange(256)
    assert torch.equal(to_uint8(levels / 127.5 - 1), levels.to(torch.uint8))
    assert to_uint8(torch.tensor([-9.0, -1, 0, 1, 9])).tolist() == [0, 0, 128, 255, 255]


def test_shipped_network_reproduces_its_stated_accuracy(digits, extractor):
    images, labels = digits
    _, test = train_test_split(torch.arange(1797), test_size=360, stratify=labels, random_state=0)
    predicted = extractor.net.net(to_uint8(images[test]))[1].argmax(1)
    stated = json.loads((FEATURES / "features.json").read_text())["test_accuracy"]
    assert (predicted == labels[test]).float().mean().item() == pytest.approx(stated, abs=1e-4)
    assert stated >= 0.985
    assert (FEATURES / "model.safetensors").stat().st_size < 2**20


def test_extractor_says_what_it_is(digits, extractor):
    features = extractor(digits[0][:70])
    assert (extractor.name, extractor.metric, extractor.dims) == ("digits", "fd_digits", 64)
    assert features.shape == (70, 64) and not features.requires_grad
    assert torch.equal(features, extractor(digits[0][:70].expand(-1, 3, -1, -1)))  # grey is three equal channels
    assert str(extractor) == f"digits@{extractor.fingerprint}" and len(extractor.fingerprint) == 12


def test_extractor_is_found_beside_the_package_from_anywhere(extractor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_extractor("checkpoints/digits/features", "cpu").fingerprint == extractor.fingerprint


def test_missing_inception_weights_are_one_clear_line(tmp_path, monkeypatch, capfd):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses at once, as a machine without network does
        port = closed.getsockname()[1]
        monkeypatch.setattr(
            evaluate, "URL_INCEPTION_V3", f"http://127.0.0.1:{port}/weights-inception-2015-12-05-6726825d.pth"
        )
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(FastdiffError) as error:
            open_extractor("inception", "cpu")
    message = str(error.value)
    for part in ("weights-inception-2015-12-05-6726825d.pth", "$TORCH_HOME/hub/checkpoints", "extractor: inception:/"):
        assert part in message
    assert "\n" not in message and capfd.readouterr() == ("", "")
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("spec", ["no/such/folder", "inception:/no/such.pth", "{tmp}", "inception:{tmp}/junk.pth"])
def test_bad_extractors_are_the_users_to_mend(spec, tmp_path):
    (tmp_path / "junk.pth").write_text("<html>not found</html>")
    with pytest.raises(FastdiffError, match="no such file|expected a folder|not the weights"):
        open_extractor(spec.format(tmp=tmp_path), "cpu")


def test_inception_weights_are_never_unpickled_blindly(tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save(Touch(), tmp_path / "evil.pth")
    with pytest.raises(FastdiffError, match="not the weights"):
        open_extractor(f"inception:{tmp_path}/evil.pth", "cpu")
    assert not (tmp_path / "executed").exists()


# --------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("sizes", [[100], [1, 99], [37, 0, 50, 13], [1] * 100])
def test_streamed_statistics_equal_numpy_on_the_whole(sizes, tmp_path):
    features = torch.randn(100, 7, generator=torch.Generator().manual_seed(0)) * 3 + 50
    streamed = Statistics(7)
    for batch in features.split(sizes):
        streamed.add(batch)
    streamed.save(tmp_path / "cache" / "a.safetensors")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.safetensors"]
    for s in (streamed, Statistics.load(tmp_path / "cache" / "a.safetensors")):
        assert s.n == 100
        np.testing.assert_allclose(s.mean.numpy(), features.double().numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(s.cov.numpy(), np.cov(features.double().numpy(), rowvar=False), atol=1e-9)


def exact(mean, cov, n=1000):
    """Statistics with exactly this mean and covariance."""
    out, mean, cov = Statistics(len(mean)), torch.tensor(mean).double(), torch.tensor(cov).double()
    out.n, out.sum, out.outer = n, n * mean, (n - 1) * cov + n * torch.outer(mean, mean)
    return out


def test_frechet_distance_of_known_gaussians():
    # commuting covariances: |m1 - m2|^2 + sum (sqrt a - sqrt b)^2 over the common eigenvalues
    a, b = exact([1.0, 2.0], [[4.0, 0.0], [0.0, 9.0]]), exact([4.0, -2.0], [[1.0, 0.0], [0.0, 25.0]])
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 4, abs=1e-9)
    # 2 x 2, not commuting: tr sqrt M = sqrt(tr M + 2 sqrt det M)
    a, b = exact([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]]), exact([0.0, 1.0], [[3.0, 0.0], [0.0, 1.0]])
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 4 - 2 * math.sqrt(8 + 2 * math.sqrt(9)), abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_too_few_samples_are_refused():
    with pytest.raises(FastdiffError, match="at least 2"):
        frechet_distance(statistics(torch.ones(1, 3)), statistics(torch.ones(5, 3)))
    with pytest.raises(FastdiffError, match="at least 2"):
        energy_distance(torch.ones(1, 3), torch.ones(5, 3))


def test_digit_halves_are_near_and_noise_is_far(digits, extractor):
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    features = extractor(digits[0][order])
    noise = extractor(torch.rand(512, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    near = frechet_distance(statistics(features[:898]), statistics(features[898:]))
    far = frechet_distance(statistics(noise), statistics(features))
    assert 0 < near < 0.005 * far


def test_agrees_with_torch_fidelity(digits, extractor):
    a, b = digits[0][:400], (digits[0][400:800] * 0.8 + 0.1)
    theirs = torch_fidelity.calculate_metrics(
        input1=Bytes(a),
        input2=Bytes(b),
        fid=True,
        feature_extractor="digits",
        feature_extractor_weights_path=str(FEATURES),
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )["frechet_inception_distance"]
    assert frechet_distance(statistics(extractor(a)), statistics(extractor(b))) == pytest.approx(theirs, rel=1e-4)


def test_energy_distance_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    # between: (1 + 5 + 1 + 3) / 4 = 2.5; within x: 2; within y: 4
    assert energy_distance(x, y) == pytest.approx(2 * 2.5 - 2 - 4)
    # two point masses at distance 5, with many copies of each
    assert energy_distance(torch.zeros(1500, 2), torch.tensor([[3.0, 4.0]]).expand(1100, 2)) == pytest.approx(10)


def test_energy_distance_is_unbiased():
    draws = torch.randn(200, 2, 20, 3, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([energy_distance(x, y) for x, y in draws])
    assert values.min() < 0 < values.max()
    assert values.mean().abs() < 4 * values.std() / math.sqrt(len(values))


# --------------------------------------------------------------------------------------------------------- evaluators


def test_frechet_evaluator_streams_caches_and_resets(digits, extractor, accelerator, tmp_path):
    data = Tensors("digits", digits[0][:300])
    images = digits[0][300:500]
    expected = frechet_distance(statistics(extractor(images)), statistics(extractor(data.x0)))
    evaluator = open_evaluator(data, None, "cpu", tmp_path)
    assert evaluator.metric == "fd_digits" and evaluator.reference == f"feed-{extractor.fingerprint}"
    for _ in range(2):
        for indices in torch.arange(200).split(90):
            evaluator.add(indices, images[indices])
        assert evaluator.result(accelerator) == {"fd_digits": pytest.approx(expected, rel=1e-5)}
    assert [path.name for path in tmp_path.iterdir()] == [f"digits-feed-{extractor.fingerprint}.safetensors"]

    data.get = None  # the cache answers: the data are not read again
    evaluator = open_evaluator(data, None, "cpu", tmp_path)
    evaluator.add(torch.arange(200), images)
    assert evaluator.result(accelerator)["fd_digits"] == pytest.approx(expected, rel=1e-5)


def test_energy_evaluator_ignores_the_order_of_batches(accelerator, tmp_path):
    vectors = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    samples = torch.randn(300, 2, generator=torch.Generator().manual_seed(1)) + 1
    evaluator = open_evaluator(Tensors("toy", vectors), None, "cpu", tmp_path)
    assert len(evaluator.vectors) == 4000 and isinstance(evaluator, EnergyEvaluator)
    values = []
    for order in (torch.arange(300), torch.arange(300).flip(0)):
        for indices in order.split(128):
            evaluator.add(indices, samples[indices])
        values.append(evaluator.result(accelerator)["energy"])
    assert values[0] == values[1] == energy_distance(samples, evaluator.vectors) > 0
    with pytest.raises(FastdiffError, match="at least 2"):
        evaluator.result(accelerator)


def test_data_that_an_extractor_cannot_take(tmp_path):
    with pytest.raises(FastdiffError, match="8, 8"):
        open_evaluator(Tensors("big", torch.zeros(4, 3, 32, 32)), "checkpoints/digits/features", "cpu", tmp_path)
    with pytest.raises(FastdiffError, match="leave extractor out"):
        open_evaluator(Tensors("toy", torch.zeros(4, 2)), "inception", "cpu", tmp_path)


def evaluate_on_rank(rank, port, folder, images, vectors):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    AcceleratorState._reset_state(reset_partial_state=True)  # nor should the parent's single process
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    out = {}
    for data, samples in (
        (Tensors("digits", images[:300]), images[300:]),
        (Tensors("toy", vectors), vectors[:150] + 1),
    ):
        evaluator = open_evaluator(data, None, "cpu", folder)
        for indices in torch.arange(len(samples)).split(50)[rank::2]:  # three batches: two here, one there
            evaluator.add(indices, samples[indices])
        out |= evaluator.result(accelerator)
    (folder / f"rank{rank}.json").write_text(json.dumps(out))
    accelerator.end_training()  # ends the process group too


def test_two_processes_agree_with_one(digits, extractor, tmp_path):
    images, vectors = digits[0][:450], torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = port, tmp_path, images, vectors
    torch.multiprocessing.start_processes(evaluate_on_rank, args, nprocs=2, start_method="fork")  # imports once
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    fd = frechet_distance(statistics(extractor(images[300:])), statistics(extractor(images[:300])))
    assert ranks[0] == {
        "fd_digits": pytest.approx(fd, rel=1e-4),
        "energy": pytest.approx(energy_distance(vectors[:150] + 1, vectors), rel=1e-9),
    }
    assert len(list(tmp_path.glob("digits-*.safetensors"))) == 1
