"""Studies that test the paper's claims. They may import anything, and nothing imports them."""
