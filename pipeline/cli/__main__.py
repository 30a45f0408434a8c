"""`python -m pipeline.cli`: the command line where the console script is not on PATH."""

from pipeline.cli import main

main()
