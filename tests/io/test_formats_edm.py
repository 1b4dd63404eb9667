"""Networks of EDM from plain tensors, held to the architecture as the papers describe it,
written out here once more."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import avg_pool2d, conv2d, group_norm, interpolate, linear, silu

from fastdiff.core.errors import FastdiffError
from fastdiff.io.load import load
from fastdiff.samplers.generate import sample

SETTINGS = {
    "class_name": "EDMPrecond",
    "model_type": "DhariwalUNet",
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 4,
    "model_channels": 128,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
    "channel_mult_emb": 2,
    "use_fp16": False,
    "sigma_min": 0,
}


class Written:
    """Tensors by name, drawn where they are first asked for."""

    def __init__(self):
        self.tensors, self.generator = {}, torch.Generator().manual_seed(0)

    def __call__(self, name, *shape):
        if name not in self.tensors:
            fan = max(1, torch.Size(shape[1:]).numel())
            drawn = torch.randn(shape, generator=self.generator) / fan**0.5
            self.tensors[name] = drawn + (len(shape) == 1 and name.endswith("weight"))
        return self.tensors[name]

    def conv(self, name, x, out, kernel):
        weight = self(f"{name}.weight", out, x.shape[1], kernel, kernel)
        return conv2d(x, weight, self(f"{name}.bias", out), padding=kernel // 2)

    def linear(self, name, x, out, bias=True):
        return linear(x, self(f"{name}.weight", out, x.shape[1]), self(f"{name}.bias", out) if bias else None)

    def norm(self, name, x):
        return group_norm(x, 32, self(f"{name}.weight", x.shape[1]), self(f"{name}.bias", x.shape[1]), 1e-5)

    def block(self, name, x, emb, out, attention=False, resample=lambda x: x):
        """ADM's residual block: resampling on both ways, the embedding scales and shifts,
        then attention in heads of 64."""
        h = self.conv(f"{name}.conv0", resample(silu(self.norm(f"{name}.norm0", x))), out, 3)
        scale, shift = self.linear(f"{name}.affine", emb, 2 * out)[:, :, None, None].chunk(2, 1)
        h = self.conv(f"{name}.conv1", silu(self.norm(f"{name}.norm1", h) * (1 + scale) + shift), out, 3)
        x = resample(x)
        x = h + (x if x.shape[1] == out else self.conv(f"{name}.skip", x, out, 1))
        if attention:
            qkv = self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", x), 3 * out, 1)
            q, k, v = qkv.flatten(2).unflatten(1, (out // 64, 64, 3)).unbind(3)  # (B, heads, 64, places)
            share = torch.einsum("bhcq,bhck->bhqk", q, k / 8).softmax(3)
            x = x + self.conv(
                f"{name}.proj", torch.einsum("bhqk,bhck->bhcq", share, v).reshape(x.shape), out, 1
            )
        return x

    def denoise(self, x, sigma, labels, said=SETTINGS):
        """x0 of x = x0 + sigma eps by EDM's preconditioning of ADM's network; labels (B, n),
        one of them 1 or none."""
        width, levels, side = (
            said["model_channels"],
            range(len(said["channel_mult"])),
            lambda i: f"{8 >> i}x{8 >> i}",
        )
        widths = [width * by for by in said["channel_mult"]]
        attends = [8 >> i in said["attn_resolutions"] for i in levels]
        angles = (sigma.log() / 4)[:, None] * 10_000 ** -(torch.arange(width // 2) / (width // 2))
        emb = self.linear(
            "map_layer0", torch.cat([angles.cos(), angles.sin()], 1), width * said["channel_mult_emb"]
        )
        emb = self.linear("map_layer1", silu(emb), emb.shape[1])
        emb = silu(emb + self.linear("map_label", labels, emb.shape[1], bias=False))
        wide = sigma[:, None, None, None]
        h = self.conv(f"enc.{side(0)}_conv", x * (wide**2 + 0.25).rsqrt(), width, 3)
        skips = [h]
        for i in levels:
            if i:
                h = self.block(f"enc.{side(i)}_down", h, emb, h.shape[1], resample=lambda x: avg_pool2d(x, 2))
                skips.append(h)
            for j in range(said["num_blocks"]):
                h = self.block(f"enc.{side(i)}_block{j}", h, emb, widths[i], attends[i])
                skips.append(h)
        h = self.block(f"dec.{side(i)}_in0", h, emb, widths[i], True)
        h = self.block(f"dec.{side(i)}_in1", h, emb, widths[i])
        for i in reversed(levels):
            if i < len(levels) - 1:
                h = self.block(
                    f"dec.{side(i)}_up", h, emb, h.shape[1], resample=lambda x: interpolate(x, scale_factor=2)
                )
            for j in range(said["num_blocks"] + 1):
                h = self.block(
                    f"dec.{side(i)}_block{j}", torch.cat([h, skips.pop()], 1), emb, widths[i], attends[i]
                )
        f = self.conv("out_conv", silu(self.norm("out_norm", h)), 3, 3)
        return (0.25 * x + 0.5 * wide * (wide**2 + 0.25).sqrt() * f) / (wide**2 + 0.25)


def save(written, said, folder):
    save_file(
        {f"model.{name}": value for name, value in written.tensors.items()}
        | {"model.enc.4x4_down.conv0.resample_filter": torch.full((1, 1, 2, 2), 0.25)},
        folder / "model.safetensors",
    )
    (folder / "edm.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def written():
    """The architecture with its weights."""
    written = Written()
    written.denoise(torch.zeros(1, 3, 8, 8), torch.ones(1), torch.eye(4)[:1])
    return written


@pytest.fixture
def folder(written, tmp_path):
    return save(written, SETTINGS, tmp_path)


@pytest.mark.parametrize("attends", [[4], [8], []])
def test_adm_is_a_unet2dmodel(tmp_path, attends):
    written, said = Written(), SETTINGS | {"attn_resolutions": attends}
    x, sigma = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0.3, 7.0])
    x = x * sigma[:, None, None, None]
    wanted = written.denoise(x, sigma, torch.eye(4)[[3, 0]], said)
    model = load(save(written, said, tmp_path))
    torch.testing.assert_close(
        model(x, sigma, cond={"label": torch.tensor([3, 0])}).x0, wanted, rtol=1e-4, atol=1e-5
    )
    assert model.net.null_label is None and sample(model, steps=2, n=1, labels=3).shape == (1, 3, 8, 8)


def test_labels_dropped_in_training_leave_a_null_class(written, folder):
    (folder / "edm.json").write_text(json.dumps(SETTINGS | {"label_dropout": 0.1}))
    model, x = load(folder), torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = written.denoise(x, torch.ones(1), torch.zeros(1, 4))
    torch.testing.assert_close(model(x, torch.ones(1)).x0, wanted, rtol=1e-4, atol=1e-5)
    assert model.net.null_label == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "SongUNet"}, "edm.json.model_type: expected DhariwalUNet, got 'SongUNet'"),
        ({"class_name": "VPPrecond"}, "edm.json.class_name: expected EDMPrecond"),
        ({"model_channels": 64}, "edm.json.model_channels: expected at least 128"),
        ({"model_channels": 192}, "is .*, expected "),
        ({"num_blocks": 2}, "model.safetensors lacks enc.8x8_block1"),
        ({"channel_mult": [2, 2]}, "channel_mult .* expected a first entry of 1"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(folder, change, message):
    (folder / "edm.json").write_text(json.dumps(SETTINGS | change))
    with pytest.raises(FastdiffError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_damaged_tensors_are_one_line(written, folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FastdiffError, match="cannot be loaded as an EDM network"):
        load(folder)
    save_file({name: value for name, value in written.tensors.items() if "map_layer1" not in name}, path)
    with pytest.raises(FastdiffError, match="model.safetensors lacks map_layer1"):
        load(folder)


def test_their_pickles_are_not_opened(tmp_path):
    (tmp_path / "edm.pkl").write_bytes(b"")
    with pytest.raises(FastdiffError, match="is pickled, which could run code .*fastdiff/io/formats/edm.py"):
        load(tmp_path / "edm.pkl")
