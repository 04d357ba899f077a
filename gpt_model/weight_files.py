"""Weight files read piece by piece, so that a model never stands in memory twice.

The idea: a file's header says every name and shape, so all that can be wrong is found before a single number is
read. The numbers then come a few rows at a time from a memory-mapped file. Subtle: pages of a mapped file count as
memory of the process once they were touched, and after the last row the whole file would; so the file is opened
anew every few megabytes, which gives them back.

    SafetensorsFiles   .safetensors, one file or shards with an index
    PickleFiles        pytorch_model.bin, opened with `weights_only=True`: nothing in it can run
    TensorsInMemory    a dict, for tests and for tensors that were made here

Files of torch before 1.6 cannot be mapped: they are read whole. Another format is a subclass (`import_llama2c`).
"""

import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from utils.errors import UserError, one_line

WEIGHTS_FILE = "model.safetensors"
PICKLE_FILE = "pytorch_model.bin"
INDEX = ".index.json"
PIECE_BYTES = 8 * 2**20  # what is read at a time, and kept until it is copied


class Weights(ABC):
    """Named tensors somewhere else. `where` is how a message calls them."""

    def __init__(self, where: str | Path) -> None:
        self.where = str(where)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._since_opened = 0  # bytes

    @abstractmethod
    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows start..stop of a tensor; what is returned is valid until the next call."""

    def close(self) -> None:
        """Give back what reading has mapped; the next `rows` maps it again."""
        self._since_opened = 0

    def pieces(self, name: str) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, rows) over a whole tensor, about `PIECE_BYTES` at a time."""
        shape = self.shapes[name]
        height = shape[0] if shape else 1
        width = max(1, 4 * torch.Size(shape[1:]).numel())
        step = max(1, PIECE_BYTES // width)
        for start in range(0, height, step):
            stop = min(start + step, height)
            yield start, stop, self.rows(name, start, stop)
            self._since_opened += (stop - start) * width
            if self._since_opened >= PIECE_BYTES:
                self.close()


class TensorsInMemory(Weights):
    """A state dict that is here already."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str | Path = "the tensors") -> None:
        super().__init__(where)
        self._tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        return self._tensors[name][start:stop]


class SafetensorsFiles(Weights):
    """One safetensors file, or several that each hold some of the tensors."""

    def __init__(self, paths: Sequence[Path], where: str | Path) -> None:
        super().__init__(where)
        self._home: dict[str, Path] = {}
        self._open: tuple[Path, Any] | None = None
        for path in paths:
            file = self._file(path)
            for name in file.keys():  # noqa: SIM118 (no mapping: it has keys() but cannot be iterated)
                _account(name, path, self._home)
                self.shapes[name] = tuple(file.get_slice(name).get_shape())
        self.close()

    def _file(self, path: Path) -> Any:
        if self._open is None or self._open[0] != path:
            self.close()
            if not path.is_file():
                raise UserError(f"{path} does not exist: a model folder holds config.json and {WEIGHTS_FILE}")
            try:
                self._open = (path, safe_open(path, framework="pt"))
            except (SafetensorError, ValueError, OSError) as error:
                raise UserError(
                    f"{path} is damaged or no safetensors file ({one_line(error)}): use another checkpoint"
                ) from None
        return self._open[1]

    def close(self) -> None:
        super().close()
        self._open = None

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        file = self._file(self._home[name])
        return file.get_slice(name)[start:stop] if self.shapes[name] else file.get_tensor(name)[None]


class PickleFiles(Weights):
    """PyTorch's own files, one or several, mapped where the format allows it."""

    def __init__(self, paths: Sequence[Path], where: str | Path) -> None:
        super().__init__(where)
        self._home: dict[str, Path] = {}
        self._open: tuple[Path, Mapping[str, Tensor]] | None = None
        self._mapped = True
        for path in paths:
            for name, tensor in self._file(path).items():
                _account(name, path, self._home)
                self.shapes[name] = tuple(tensor.shape)
        self.close()

    def _file(self, path: Path) -> Mapping[str, Tensor]:
        if self._open is None or self._open[0] != path:
            self._open = None
            self._open = (path, self._load(path))
        return self._open[1]

    def _load(self, path: Path) -> Mapping[str, Tensor]:
        if not path.is_file():
            raise UserError(f"{path} does not exist: fetch the missing shard")
        try:
            self._mapped = zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=self._mapped)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{path} cannot be read safely ({reason}): use the model's safetensors file"
            ) from None
        if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
            raise UserError(
                f"{path} holds something else than named tensors: use the model's safetensors file"
            )
        return state

    def close(self) -> None:
        super().close()
        if self._mapped:
            self._open = None

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        tensor = self._file(self._home[name])[name]
        return tensor[start:stop] if tensor.dim() else tensor[None]


def _account(name: str, path: Path, home: dict[str, Path]) -> None:
    if name in home:
        raise UserError(f"{name} is in {home[name].name} and in {path.name}: fetch the shards again")
    home[name] = path


def open_weights(folder: str | Path) -> Weights:
    """The weights of a model folder: safetensors (one file or shards) first, then pytorch_model.bin."""
    folder = Path(folder)
    for file, kind in ((WEIGHTS_FILE, SafetensorsFiles), (PICKLE_FILE, PickleFiles)):
        if (folder / file).is_file():
            return kind([folder / file], folder / file)
        if (folder / (file + INDEX)).is_file():
            return kind(read_index(folder / (file + INDEX)), folder)
    raise UserError(f"{folder} has no {WEIGHTS_FILE} and no {PICKLE_FILE}: it is not a model folder")


def read_index(path: Path) -> list[Path]:
    """The shards that an index file names, in order; they lie beside it whatever it says."""
    try:
        shards: Iterable[str] = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        return [path.parent / Path(shard).name for shard in sorted(shards)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: fetch it again") from None
