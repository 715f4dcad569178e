"""Programs that measure: peers side by side, published tables, the figures that the README quotes."""
