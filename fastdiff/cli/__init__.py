"""The command line, over all other wings; none of its files imports torch before a command runs.

The program:
    app         the commands, put together; a user's error is one line and exit code 2
    options     options that several commands share, and what they write as text
    processes   what a command does as one of several processes

The commands:
    run         fastdiff run
    sample      fastdiff sample
    export      fastdiff export
    bench       fastdiff bench
    evaluate    fastdiff evaluate
    search      fastdiff search
    inspect     fastdiff status, report, judge, list, doctor
    listing     the lists of fastdiff list
"""

from .app import main

__all__ = ["main"]
