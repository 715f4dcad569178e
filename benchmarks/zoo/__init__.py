"""The zoo: many architectures, converted to every format and precision, and what became of each."""

from benchmarks.zoo._convolutional import CONVOLUTIONAL
from benchmarks.zoo._network import Network
from benchmarks.zoo._recurrent import RECURRENT
from benchmarks.zoo._transformers import TRANSFORMERS

__all__ = ["ZOO", "Network"]

ZOO: dict[str, Network] = {one.name: one for one in (*CONVOLUTIONAL, *RECURRENT, *TRANSFORMERS)}
