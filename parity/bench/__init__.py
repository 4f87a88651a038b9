"""`parity bench`: the built-in networks, trained by several programs, side by side and against the limit."""
