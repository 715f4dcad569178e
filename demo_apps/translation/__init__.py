"""Translation: everyday English sentences into German, by an encoder and a decoder that remembers what it wrote."""
