"""Whether networks share a basin: what happens on the straight lines between them."""
