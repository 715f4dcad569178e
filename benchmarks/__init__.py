"""Programs that measure: ours beside peers and plain libraries, published tables, figures that the README quotes."""
