"""Programs that measure: ours beside peers and plain libraries, published tables, the figures that the README quotes."""
