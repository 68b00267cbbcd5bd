"""What the front door runs besides studies: a module each, found by name, with `Settings` and `run(settings, out)`.

A command that keeps no run folder says `KEEPS_RUN = False`: it gets neither `--out` nor `--resume`, and its
`run(settings)` no folder.
"""
