"""Studies: their search space, their objectives, and the manifest that records them."""
