"""The export of a model for other programs.

Files:
    model        the model's folder: weights, fastdiff.json, and everything below
    schedulers   the diffusers scheduler that takes the same steps as the model's sampler
    pipeline     the stock diffusers pipeline that samples the model, and model_index.json
    script       a script that samples the model with torch and diffusers only
    card         the model card, README.md
"""
