"""The benchmark of the built-in networks: contenders, timing, memory, the limits of the machine."""
