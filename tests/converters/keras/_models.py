"""The models that users bring: a CNN, and one of several inputs and outputs, with attention and recurrent layers."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["save_models"]


def save_models(folder: Path) -> None:
    """Writes the models; TensorFlow stays in the process that calls this."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(0)

    image = keras.Input((16, 16, 3), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(image))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.ReLU(6.0)(x))
    cnn = keras.Model(image, layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(x)))
    cnn.save(folder / "cnn.keras")
    cnn.save(folder / "cnn.h5")
    cnn.export(folder / "cnn", verbose=False)

    tokens = keras.Input((12,), dtype="int32", name="tokens")
    x = layers.Embedding(2, 16)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    read = layers.GRU(8)(layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x))
    both = layers.Concatenate()([layers.Flatten()(image), read])
    outputs = {"scores": layers.Dense(5)(both), "boxes": layers.Dense(5, activation="sigmoid")(both)}
    several = keras.Model({"image": image, "tokens": tokens}, outputs)
    several.save(folder / "several.keras")
    drawing = np.random.default_rng(1)
    asked = {
        "image": drawing.normal(size=(5, 16, 16, 3)).astype("float32"),
        "tokens": drawing.integers(2, size=(5, 12)),
    }
    np.savez(folder / "several.npz", **asked, **several.predict(asked, verbose=0))

    keras.Model(image, layers.Flatten()(layers.Lambda(lambda v: v * 2)(image))).save(folder / "lambda.keras")
    keras.Sequential([keras.Input((None, 6), name="frames"), layers.Dense(2)]).save(folder / "open.keras")
