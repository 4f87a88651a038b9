"""The commands of `parity`, one module each; frameworks are imported when a command runs, not before."""
