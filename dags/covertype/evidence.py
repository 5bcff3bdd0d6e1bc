"""What a registered version brings along so that the gate need not believe it.

One compressed file of arrays: the hashes of the rows that it was fitted to, by which a leak shows,
and what scikit-learn predicted of held-out rows, against which the stored ONNX model is checked.
"""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covertype.dataset import Floats, Ints
from covertype.hashing import Hashes

FILE_NAME = "gate_evidence.npz"


@dataclass(frozen=True)
class Evidence:
    """The evidence of one version.

    Attributes:
        fitted: uint64 [rows], content hashes of the rows it was fitted to.
        inputs: float32 [checks, len(INPUTS)], held-out rows.
        expected: int64 [checks], what scikit-learn predicted of them.
    """

    fitted: Hashes
    inputs: Floats
    expected: Ints

    def dump(self) -> bytes:
        """The file's content; the same evidence gives the same bytes."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            fitted=np.sort(self.fitted),
            # All inputs are whole numbers.
            inputs=self.inputs.astype(np.int16),
            expected=self.expected.astype(np.int8),
        )
        return file.getvalue()

    @classmethod
    def load(cls, content: bytes) -> "Evidence":
        """Read a file's content.

        Raises:
            ValueError: It is no evidence.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                evidence = cls(
                    arrays["fitted"].astype(np.uint64),
                    arrays["inputs"].astype(np.float32),
                    arrays["expected"].astype(np.int64),
                )
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{FILE_NAME} cannot be read: {error!r}") from error
        if not len(evidence.fitted) or len(evidence.inputs) != len(evidence.expected):
            raise ValueError(f"{FILE_NAME} is incomplete")
        return evidence

    def has_seen(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Bool [rows]: which of the rows with these hashes it was fitted to."""
        return np.isin(hashes, self.fitted)
