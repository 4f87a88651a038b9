"""JAX: models of every library as programs, their jaxprs, traces and lifting to float64."""
