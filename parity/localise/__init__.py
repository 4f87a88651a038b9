"""Where two programs first differ: the walk back through both traces, and a reproducer of the place."""
