"""The models that users bring: a CNN, several inputs and outputs, a Transformer, recurrent layers."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["save_models"]


def save_models(folder: Path) -> None:
    """Writes the models; TensorFlow stays in the process that calls this."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)

    image = keras.Input((16, 16, 3), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(image))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.ReLU(6.0)(x))
    cnn = keras.Model(image, layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D()(x)))
    cnn.save(folder / "cnn.keras")
    cnn.save(folder / "cnn.h5")
    cnn.export(folder / "cnn", verbose=False)

    side = keras.Input((4,), name="side")
    both = layers.Concatenate()([layers.Flatten()(image), side])
    outputs = {"scores": layers.Dense(5)(both), "boxes": layers.Dense(5, activation="sigmoid")(both)}
    keras.Model({"image": image, "side": side}, outputs).save(folder / "several.keras")

    tokens = keras.Input((12,), dtype="int32", name="tokens")
    x = layers.Embedding(2, 16)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))).save(folder / "transformer.keras")

    stack = [keras.Input((10, 6)), layers.LSTM(8, return_sequences=True), layers.GRU(8), layers.Dense(4)]
    keras.Sequential(stack).save(folder / "recurrent.keras")

    keras.Model(image, layers.Flatten()(layers.Lambda(lambda v: v * 2)(image))).save(folder / "lambda.keras")
    keras.Sequential([keras.Input((None, 6)), layers.Dense(2)]).save(folder / "open.keras")
