"""Published sweeps: results that ship with the code, and the page of answers that is made from them."""
