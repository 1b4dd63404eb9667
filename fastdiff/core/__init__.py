"""Core: the algebra of diffusion models, and helpers of all other wings. Imports no other wing.

The algebra:
    schedule       alpha and sigma as functions of time: DDPM, cosine, flow matching, Karras, ...
    schedule_base  the interface of schedules
    schedule_end   schedules that end at a level with noise
    interpolation  levels between the entries of a table
    betas          beta tables of discrete schedules
    prediction     the pair (x0, eps), the prediction types and the time inputs of networks
    condition      conditions of samples: their keys and shapes
    denoiser       a network, its schedule and its parameterization as one model
    model_card     the short card that `print(model)` shows
    rescheduled    a model on another schedule
    extra_inputs   a second time and a guidance weight as inputs of a network
    bounds         bounds of x0, and those that a model records
    guidance       the function that samplers call: a model with guidance and bounds of x0
    oversaturation rescaling and dynamic thresholding of guided predictions
    network        the interface of networks
    bare_network   networks with another call, such as net(x, t)
    sampling       the default sampler, grid and step counts of a model
    ema            exponential moving averages of weights
    broadcast      broadcasting of coefficients (B,) against samples (B, ...)
    rng            random numbers that depend only on the seed and the sample
    statistics     running statistics of a training, summed over all processes
    unregistered   a holder for a module that is not a submodule

Foundations:
    errors         errors that end a command
    registry       functions and classes by name, in any case
    validation     checks of plain data against the parameters of functions and dataclasses
    wording        what errors say: the expected value, and the nearest known name
    public_arguments  models that are opened, and the words of other libraries
    settings       settings of functions and classes as text: types, defaults, meanings
    former_names   former names of recipe keys, options and Python names, which still work
    shipped        the recipes and models that fastdiff ships, found from any working directory
    plugins        the user's own Python files, which register names
    progress_bar   bars in a terminal, lines in other outputs
    files          JSON, atomic writes, checksums, names derived from contents
    templates      Jinja templates
    accelerator    the only place where an Accelerator is created
    memory         errors of memory, and a check before it is taken
    defaults       the defaults of torch for new tensors
    cost           memory and arithmetic that sampling takes
"""
