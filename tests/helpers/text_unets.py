"""Small UNets with text behind net(x, t, s, cond), and what is said to them."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from fastdiff.networks import TextUNet

SDXL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 + 24,
}


def small(**options):
    """A tiny module with every weight drawn."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 12,
            "attention_head_dim": 4,
            "in_channels": 4,
            "out_channels": 4,
            **options,
        }
    ).eval()


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X, TEXT = drawn(3, 4, 8, 8), drawn(3, 5, 12, seed=2)


T, S = torch.tensor([999.0, 340.0, 1.5]), torch.tensor([500.0, 0.0, 0.0])


KINDS = {"text": {}, "labels": {"num_class_embeds": 4}, "sdxl": SDXL, "image": {"in_channels": 7}}


BESIDE = {
    "text": {},
    "labels": {"label": torch.tensor([0, 2, 1])},
    "sdxl": {"pooled": drawn(3, 6)},
    "image": {"image": drawn(3, 3, 8, 8)},
}


kinds = pytest.mark.parametrize("kind", KINDS)


def of(kind, **options):
    """A network of this kind, and what it is asked under."""
    return TextUNet.of(small(**KINDS[kind], **options), (4, 8, 8), False).eval(), {
        "text": TEXT,
        **BESIDE[kind],
    }
