"""The built-in networks as pairs: the only room of the harness that knows jaxnn, torchref and data."""
