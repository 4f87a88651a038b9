"""Both frameworks behind one interface: open a model, run it, trace it, lift it to float64."""
