"""`python -m hansang.cli`: the command, where its script is not on the path."""

from hansang.cli.main import main

main()
