"""The Keras teacher of the cross-framework benchmark; it is made in a process of its own, where TensorFlow runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["train_keras"]


def train_keras(folder: Path, pixels: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Trains the teacher and saves it twice; runs in a process of its own."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((1, 28, 28), name="pixels"),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, name="logits"),
        ]
    )
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(pixels, labels, batch_size=128, epochs=5, verbose=0)
    net.save(folder / "teacher.keras")
    net.export(folder / "teacher", verbose=False)
