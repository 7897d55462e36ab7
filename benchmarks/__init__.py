"""How fast octosteps is, always as a ratio to something else in the same run. `make bench` runs all of them."""
