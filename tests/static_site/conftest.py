"""What tests of static sites share: Chromium, onnxruntime-web, a tiny model with word pieces."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import SCENES
from tests.oracles.method_cases import QUICK

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from modalhash.static_site import Runtime

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "green", "blue", "grey", "ring", "square",
    "star", "circle", "the", "on", "##s", "of", "c", "##irc", "##le", "!", ",",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    """Chromium, started once; tests are skipped where it doesn't start."""
    pytest.importorskip("selenium")
    from tests.oracles.browser_page import CHROMIUM, DRIVER, start_browser

    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium with its driver")
    started = start_browser(tmp_path_factory.mktemp("chromium"))
    started.set_script_timeout(60)
    yield started
    started.quit()


@pytest.fixture(scope="session")
def runtime() -> "Runtime":
    """onnxruntime-web, which `./check` has npm fetch into the environment; nothing is fetched."""
    from modalhash.static_site import find_runtime
    from modalhash.static_site.runtime import WASM, runtime_folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODALHASH_CACHE", str(Path(sys.prefix) / "cache"))
        if not (runtime_folder() / WASM).is_file():
            pytest.skip("no onnxruntime-web: ./check fetches it where npm is installed")
        runtime = find_runtime("npm")
    assert runtime is not None
    return runtime


def save_word_piece_bert(folder: Path) -> None:
    """Save a BERT with two blocks, random weights and a tokenizer of word pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    transformers: Any = import_module("transformers")
    tokenizer = Tokenizer(
        models.WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=16,
    )  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=len(WORDS), max_position_embeddings=16, hidden_size=64, intermediate_size=96,
        num_hidden_layers=2, num_attention_heads=4,
    )  # fmt: skip
    transformers.set_seed(0)
    transformers.BertModel(config).eval().save_pretrained(folder)
    fast.save_pretrained(folder)


@pytest.fixture(scope="session")
def bert_index(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """An index of 60 scenes whose texts a tiny BERT encodes, 40 bits; not to be changed."""
    import torch

    import modalhash as mh
    from tests.oracles.tiny_transformers import save_tiny_model

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    save_tiny_model("vit", folder / "vit")
    save_word_piece_bert(folder / "bert")
    mh.train(
        SCENES, output=folder / "run", method="nested", n_bits=40,
        encoder=f"vit:{folder / 'vit'}+bert:{folder / 'bert'}", cache=session_cache,
        settings=QUICK["nested"],
    )  # fmt: skip
    mh.build_index(folder / "run", output=folder / "bert.index", cache=session_cache).close()
    return folder / "bert.index"
