"""PyTorch: modules and functions as programs, their traces, their lifting to float64."""
