"""Studies that test the paper's claims. They may import any other package; only commands and scripts import them."""
