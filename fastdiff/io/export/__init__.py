"""The export of a model for other programs; imports from the wings below io.

Files:
    model        the folder: weights, fastdiff.json, and all of the following
    schedulers   the scheduler of diffusers that samples as the model does
    pipeline     the stock pipeline of diffusers that does, and model_index.json
    script       the script that samples it by torch and diffusers alone
    card         README.md
"""
