"""The yardstick and what it is measured with: arrays, noise, precision, finite differences."""
