"""Which backend computes which network, where the settings leave that to us."""
