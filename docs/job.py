"""What `mobiledistill compress` reads: a teacher and a task of your own. Here: which way noisy stripes run."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import mobiledistill as md


class Stripes:
    """The task: what comes in, what goes out, what is learned, how it is scored."""

    name = "stripes"
    metric = md.Metric("accuracy", "%")
    signatures = {  # noqa: RUF012  (the protocol asks for an attribute of this form)
        "main": md.Signature(
            inputs={"image": md.TensorSpec((1, 1, 16, 16))},
            outputs={"logits": md.Output((1, 4), md.Head.CATEGORICAL)},
        )
    }

    def __init__(self):
        sizes = {"train": 512, "validation": 256, "test": 256}
        self.data = {split: stripes(size, seed) for seed, (split, size) in enumerate(sizes.items())}

    def train_batches(self, epoch):
        """The same epoch number gives the same batches."""
        images, labels = self.data["train"]
        for chosen in np.array_split(np.random.default_rng(epoch).permutation(len(labels)), 8):
            yield md.Batch({"image": torch.from_numpy(images[chosen])}, {"label": torch.from_numpy(labels[chosen])})

    def loss(self, outputs, batch):
        """The hard loss."""
        return F.cross_entropy(outputs["logits"], batch.targets["label"])

    def evaluate(self, predict, split):
        """Scores whatever answers: the module, or a file."""
        images, labels = self.data[split]
        right = float((predict({"image": images})["logits"].argmax(1) == labels).mean())
        reach = 196 * (right * (1 - right) / len(labels)) ** 0.5
        return md.Score(100 * right, len(labels), (100 * right - reach, 100 * right + reach))

    def calibration_inputs(self, signature="main"):
        """Training inputs, for ranges and for the comparison of files with the module."""
        return {"image": self.data["train"][0][:128]}

    def exported(self, model, signature):
        """The module behind a signature."""
        return model


def task():
    """What must be learned."""
    return Stripes()


def teacher():
    """A trained model; here it is trained on the spot, normally you load yours."""
    torch.manual_seed(0)
    width = 24
    network = nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4),
    )  # fmt: skip
    return md.train_model(network, Stripes(), md.Recipe(epochs=6, learning_rate=1e-2), workdir="runs/stripes-teacher")


def stripes(count, seed):
    """Noisy stripes in one of four directions."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    y, x = np.mgrid[0:16, 0:16]
    images = np.sin(np.stack([x, y, x + y, x - y])[labels] * 1.2 + random.uniform(0, 6, (count, 1, 1)))
    return (images + random.normal(0, 0.6, images.shape))[:, None].astype(np.float32), labels
