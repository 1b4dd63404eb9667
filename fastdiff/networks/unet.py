"""diffusers' UNet2DModel behind net(x, t, s, cond)."""

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from ..denoiser import Cond
from ..errors import FastdiffError


class UNet(nn.Module):
    """Images (B, C, H, W). With labels, the embedding's last row is the null class of guidance."""

    folder = "unet"

    def __init__(self, module: UNet2DModel):
        super().__init__()
        self.module = module

    @property
    def null_label(self) -> int | None:
        """The class that stands for no class; None where the network takes no labels."""
        rows = self.module.config.num_class_embeds
        return rows - 1 if rows else None

    @property
    def learned_variance(self) -> bool:
        """Whether the second half of its channels is the variance of a reverse step."""
        return self.module.config.out_channels == 2 * self.module.config.in_channels

    def forward(self, x: Tensor, t: Tensor, s: Tensor | None = None, cond: Cond = None) -> Tensor:
        labels = None
        if self.null_label is not None:
            labels = cond["label"] if cond else torch.full((len(x),), self.null_label, device=x.device)
        return self.module(x, t, class_labels=labels, return_dict=False)[0]


def unet(shape: tuple[int, ...], classes: int = 0, *, channels: tuple[int, ...] = (64, 128, 128), layers: int = 2,
         attention: tuple[int, ...] = (), middle_attention: bool = True, dropout: float = 0.0, groups: int = 8,
         learned_variance: bool = False) -> UNet:
    """A fresh UNet2DModel. channels: width of each resolution, halving; layers: residual blocks a resolution;
    attention: the image sizes at which it attends besides the middle; groups: of the group norms;
    learned_variance: twice the output channels, for the variance of a reverse step."""
    if len(shape) != 3:
        raise FastdiffError(f"model.net: unet expects images (C, H, W), the data have shape {shape}; use mlp")
    sizes = [shape[1] >> i for i in range(len(channels))]
    if shape[1] % (1 << (len(channels) - 1)) or shape[2] % (1 << (len(channels) - 1)):
        raise FastdiffError(
            f"model.net.channels: {len(channels)} resolutions cannot halve images of {shape[1]} x {shape[2]}")
    if bad := [c for c in channels if c % groups]:
        raise FastdiffError(f"model.net.channels: {bad[0]} is no multiple of the {groups} groups of the group norm")
    return UNet(UNet2DModel(
        sample_size=shape[1] if shape[1] == shape[2] else shape[1:], in_channels=shape[0],
        out_channels=shape[0] * (2 if learned_variance else 1),
        block_out_channels=channels, layers_per_block=layers, norm_num_groups=groups, dropout=dropout,
        attention_head_dim=min(32, *channels), add_attention=middle_attention,
        down_block_types=tuple("AttnDownBlock2D" if n in attention else "DownBlock2D" for n in sizes),
        up_block_types=tuple("AttnUpBlock2D" if n in attention else "UpBlock2D" for n in reversed(sizes)),
        num_class_embeds=classes + 1 if classes else None))
