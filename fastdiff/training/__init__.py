"""The training loop, its settings, and its checkpoints.

loop.py        Training, the training of one stage, step by step
method.py      Teachable, the interface of a method that the loop uses, and shared types
learner.py     Learner, one update of the roles in a turn
roles.py       Role, a network that is trained: weights, optimizer and settings
networks.py    TrainingNetworks, all networks by role, and how they are prepared
averages.py    Averages, the exported EMA and the target EMAs
weights.py     the state of one network, by parameter name
placement.py   DDP, shards (FSDP2), main memory, bfloat16
health.py      Health, the check for figures that are not finite and for collapse
config.py      TrainConfig, the settings
checkpoint.py  checkpoints on disk, from which a training resumes
logger.py      Log, the files log.jsonl and pace.jsonl
signals.py     Signals, requests to stop or to save
malloc.py      settings of the process's heap during a training
pairs.py       Pairs, stored pairs of noise and sample

It may import from core, networks, samplers and data; it knows no method.
"""
