"""Core: the algebra of diffusion models, and what every other wing uses. Imports no other wing.

The algebra:
    schedule       alpha and sigma as functions of time: DDPM, cosine, flow matching, Karras, ...
    betas          beta tables of discrete schedules
    prediction     the pair (x0, eps), and what a network may predict and take as its time
    denoiser       a network, its schedule and its parameterization as one model
    rescheduled    a model on another schedule
    extra_inputs   a second time and a guidance weight as inputs of a network
    guidance       classifier-free guidance and its kin, and bounds of x0: what a sampler calls
    network        the interface of networks
    sampling       how a model is meant to be sampled
    ema            exponential moving averages of weights
    broadcast      coefficients of each sample against tensors of samples
    rng            random numbers that depend on the seed and the sample alone
    statistics     statistics of a training that all processes share
    unregistered   a holder for a module that is no submodule

The ground:
    errors         errors that end a command
    validation     plain data held to what functions and dataclasses accept
    former_names   former names of recipe keys, options and Python names, which keep working
    files          JSON, atomic writes, checksums, names derived from contents
    templates      Jinja templates
    accelerator    the one place where an Accelerator is made
    cost           memory and arithmetic of sampling
"""
