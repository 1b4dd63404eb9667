"""The `fastdiff` command, run as python -m fastdiff."""

from .cli.app import main

main()
