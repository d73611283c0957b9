"""Models of `transformers` with two blocks and random weights, saved as `save_pretrained` does."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

__all__ = ["SIDE", "WORDS", "save_tiny_model", "tiny_tokenizer"]

transformers: Any = import_module("transformers")
WORDS = [
    "[PAD]", "[UNK]", "[START]", "[END]", "a", "red", "green", "blue", "grey", "dark", "light",
    "picture", "of", "the", "dog", "runs",
]  # fmt: skip
SIDE, PATCH, WIDTH, LENGTH = 16, 8, 64, 12
MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]


def tiny_tokenizer() -> Any:
    """Return a tokenizer that knows `WORDS` and puts a mark at both ends."""
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 2), ("[END]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        bos_token="[START]",
        eos_token="[END]",
        model_max_length=LENGTH,
    )


def sizes(**others: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        **others,
    }


def tiny_model(kind: str) -> Any:
    """Return a randomly initialised model; torch's generator decides its weights."""
    vision = sizes(image_size=SIDE, patch_size=PATCH)
    text = sizes(vocab_size=len(WORDS), max_position_embeddings=LENGTH)
    match kind:
        case "clip":
            marks = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
            config = transformers.CLIPConfig(
                text_config={**text, **marks}, vision_config=vision, projection_dim=WIDTH
            )
            return transformers.CLIPModel(config)
        case "vit":
            return transformers.ViTModel(transformers.ViTConfig(**vision))
        case "deit":
            return transformers.DeiTModel(transformers.DeiTConfig(**vision))
        case "bert":
            return transformers.BertModel(transformers.BertConfig(**text))
        case "roberta":
            # Positions are counted from behind the padding's number.
            more = {**text, "max_position_embeddings": LENGTH + 1, "pad_token_id": 0}
            return transformers.RobertaModel(transformers.RobertaConfig(**more))
        case "distilbert":
            config = transformers.DistilBertConfig(
                vocab_size=len(WORDS), dim=WIDTH, hidden_dim=WIDTH, n_layers=2, n_heads=4,
                max_position_embeddings=LENGTH,
            )  # fmt: skip
            return transformers.DistilBertModel(config)
    raise AssertionError(kind)


def save_tiny_model(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a model of a kind with its tokenizer and preparation; return the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tiny_model(kind).save_pretrained(folder)
    if kind not in ("vit", "deit"):
        tiny_tokenizer().save_pretrained(folder)
    if kind in ("clip", "vit", "deit"):
        square = {"height": SIDE, "width": SIDE}
        larger = {"height": SIDE + 4, "width": SIDE + 4}
        size: Any = {"clip": {"shortest_edge": SIDE}, "vit": square, "deit": larger}[kind]
        names = {"clip": "CLIP", "vit": "ViT", "deit": "DeiT"}
        settings = {
            "image_processor_type": f"{names[kind]}ImageProcessor",
            "do_resize": True,
            "size": size,
            "resample": 3,
            "do_center_crop": kind != "vit",
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": MEAN,
            "image_std": DEVIATION,
        }
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
    return folder
