"""The command line, on top of all other subpackages; none of its files imports torch before a command runs.

The program:
    app         the program: all commands, and errors of a user as one line (exit code 2)
    class_labels  the option --labels: numbers or names of classes
    options     options that several commands share, and parsers of their text
    processes   helpers for commands that a launcher starts as several processes

The commands:
    init        fastdiff init
    run         fastdiff run
    sample      fastdiff sample
    export      fastdiff export
    bench       fastdiff bench
    evaluate    fastdiff evaluate
    features    fastdiff features
    search      fastdiff search
    inspect     fastdiff status, report, judge, doctor
    listing     fastdiff list
    catalogue   what `fastdiff list` lists: sections of a recipe, registries, recipes and models
    examples    the examples under each command's help
"""

from .app import main

__all__ = ["main"]
