"""Renderers: they read `parity.result` and nothing else."""
