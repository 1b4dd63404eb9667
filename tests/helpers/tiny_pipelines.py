"""Tiny pipelines of diffusers with random weights, by their class's name."""

import json

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNet2DModel

VP = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}


def vae(latents=4, **options):
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latents,
        norm_num_groups=4,
        **options,
    )


def unet(channels=3, **options):
    return UNet2DModel(
        8,
        channels,
        channels,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        **options,
    )


def text_unet(width=8, **options):
    return UNet2DConditionModel(
        8,
        4,
        4,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=width,
        **options,
    )


def clip(folder, kind="CLIPTextModel"):
    """A text encoder of width 8, and a tokenizer of letters for 12 tokens."""
    import transformers

    letters = [chr(code) for code in range(97, 123)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        projection_dim=8,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )
    encoder = getattr(transformers, kind)(config).eval()
    return encoder, transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=12)


def t5():
    """A text encoder of width 16, and its tokenizer of letters."""
    import transformers

    vocabulary = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((chr(code), -1.0) for code in (9601, *range(97, 123))),
    ]
    config = transformers.T5Config(vocab_size=200, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return transformers.T5EncoderModel(config).eval(), transformers.T5Tokenizer(vocab=vocabulary)


def stable_diffusion(folder, kind="StableDiffusionPipeline", scheduler=None, **options):
    encoder, tokenizer = clip(folder)
    more = {"image_encoder": None} if kind != "StableDiffusionPipeline" else {}
    return getattr(diffusers, kind)(
        vae=vae(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=text_unet(**options),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        scheduler=scheduler or DDIMScheduler(**VP, steps_offset=1),
        **more,
    )


def sdxl(folder):
    (one, first), (two, second) = clip(folder), clip(folder, "CLIPTextModelWithProjection")
    unet = text_unet(
        16,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=8 + 6 * 4,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=one,
        tokenizer=first,
        text_encoder_2=two,
        tokenizer_2=second,
        unet=unet,
        scheduler=DDIMScheduler(**VP, steps_offset=1),
        add_watermarker=False,
    )


def pixart(kind="PixArtAlphaPipeline"):
    encoder, tokenizer = t5()
    width, size = (8, 8) if kind == "PixArtSigmaPipeline" else (12, 128)  # at 128 it is told sizes in pixels
    net = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=width,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        cross_attention_dim=2 * width,
        sample_size=size,
        caption_channels=16,
    )
    return getattr(diffusers, kind)(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=vae(),
        transformer=net,
        scheduler=DDIMScheduler(clip_sample=False, timestep_spacing="trailing"),
    )


def sd3(folder):
    (one, first), (two, second) = (clip(folder, "CLIPTextModelWithProjection") for _ in range(2))
    three, third = t5()
    net = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=net,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=1.5, shift_factor=0.1),
        text_encoder=one,
        tokenizer=first,
        text_encoder_2=two,
        tokenizer_2=second,
        text_encoder_3=three,
        tokenizer_3=third,
    )


def flux(folder, guided=True):
    (one, first), (three, third) = clip(folder), t5()
    net = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=8,
        guidance_embeds=guided,
        axes_dims_rope=(2, 2, 4),
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guided),
        vae=vae(scaling_factor=0.4, shift_factor=0.1),
        text_encoder=one,
        tokenizer=first,
        text_encoder_2=three,
        tokenizer_2=third,
        transformer=net,
    )


def dit():
    net = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
        activation_fn="gelu-approximate",
    )
    return diffusers.DiTPipeline(transformer=net, vae=vae(), scheduler=DDIMScheduler(clip_sample=False))


def ldm():
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=4,
        num_vq_embeddings=16,
    )
    return diffusers.LDMPipeline(vqvae=vqvae, unet=unet(), scheduler=DDIMScheduler(**VP))


def consistency(classes=None):
    net = unet(resnet_time_scale_shift="scale_shift", num_class_embeds=classes)
    return diffusers.ConsistencyModelPipeline(unet=net, scheduler=diffusers.CMStochasticIterativeScheduler())


def pixels():
    return diffusers.DDIMPipeline(
        unet=unet(), scheduler=DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    )


def alive(pipeline):
    """With weights of which none are zero, and in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            for p in part.parameters():
                if p.ndim < 2 or not p.abs().sum():
                    p.data.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
    return quiet(pipeline)


def quiet(pipeline):
    """Without a bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
