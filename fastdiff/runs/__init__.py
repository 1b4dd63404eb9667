"""Recipes, and runs that train, benchmark and report them; imports all wings but cli.

A recipe:
    recipe          a whole recipe: read, checked, and the data and model that it opens
    recipe_file     its YAML file: includes, and key=value overrides
    model_config    its model: network, schedule, and encoders of images and prompts
    stage_config    its stages: settings, chains, and what they may refer to

A run:
    run             every stage, the benchmark, the report
    context         what all stages of a run share
    stage           one stage: trains and exports a student, or stores pairs
    student         loads a stage's student and teacher
    origin          what a stage's model was made from: by it finished stages are recognised
    checks          whether models and data of a stage fit
    cards           model cards with the run's recipe and rows
    hub_pins        commits of hub ids, kept in pins.json

Around it:
    status          notes on a run at work, for `fastdiff status`
    progress_bar    the bar in the terminal
    crash_report    the report of a crash, without secrets
    disk_errors     disk errors as one-line messages
    doctor          checks of an installation
"""
