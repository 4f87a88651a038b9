"""Renderers: they read `parity.report.results` and nothing else."""
