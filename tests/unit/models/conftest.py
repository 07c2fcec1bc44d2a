"""Networks and folders small enough for tests of a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

from langmill.models.decoder import Decoder
from langmill.models.heads import LanguageModel
from langmill.models.layers.llama import TransformerSettings

VOCAB_SIZE = 257
MAX_LENGTH = 32
EOT_ID = 256
OPTIONS: dict[str, Any] = {
    "dim": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "hidden_dim": 48,
    "rope_theta": 10000.0,
    "norm_eps": 1e-5,
    "tie_embeddings": True,
    "dropout": 0.0,
}
NetworkT = TypeVar("NetworkT", bound=nn.Module)
MakeModel = Callable[..., LanguageModel]


@torch.no_grad()
def randomise(network: NetworkT, std: float) -> NetworkT:
    """Draw every weight anew: a fresh network's blocks do nothing yet, which would leave little to test."""
    for weight in network.parameters():
        weight.normal_(0.0, std) if weight.dim() > 1 else weight.normal_(1.0, 0.1)
    return network


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than such small networks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_model() -> MakeModel:
    """A language model in evaluation mode; its weights are random enough to make a difference wherever one is due."""

    def make(seed: int = 1, tie: bool = True, std: float = 0.15, **options: Any) -> LanguageModel:
        torch.manual_seed(seed)
        settings = TransformerSettings(**{**OPTIONS, **options, "tie_embeddings": tie})
        network = LanguageModel(Decoder(settings, VOCAB_SIZE, MAX_LENGTH))
        return randomise(network, std).eval()

    return make


@pytest.fixture
def tokens_BT() -> torch.Tensor:
    return torch.randint(VOCAB_SIZE, (3, 20), generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of bytes and the end-of-text token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path
