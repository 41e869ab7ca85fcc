"""What many images' certificates say together, pure: no I/O, no clock; numpy, scipy.special and certify only."""
