"""Training: the loop, its settings, and what it resumes from.

loop.py        Training, one stage's training, step by step
method.py      what the loop needs of a method
learner.py     Learner, one update of the roles in a turn
roles.py       Role, what learns: weights, optimizer and own settings
networks.py    TrainingNetworks, all networks by role, and how they are made ready
averages.py    Averages, the exported average and the target averages
weights.py     the state of one network, by name
placement.py   DDP, shards (FSDP2), main memory, bfloat16
health.py      Health, figures that are not finite, and collapse
config.py      TrainConfig, the settings
checkpoint.py  saved states on disk
logger.py      Log, log.jsonl and pace.jsonl
signals.py     Signals, requests to stop or to save
malloc.py      the process's heap during a training
pairs.py       Pairs, stored pairs of noise and sample

It may import from core, networks, samplers and data; it knows no method.
"""
