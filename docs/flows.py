"""The data flow of every method, as boxes and arrows; `generate.py` draws them."""

from collections.abc import Mapping, Sequence

from flow_drawing import Box, Flow

TOKENS = (
    ("pictures", "image_features"),
    ("texts", "text_features"),
    ("image_features", "image_trunk"),
    ("text_features", "text_trunk"),
    ("image_trunk", "image_head"),
    ("text_trunk", "text_head"),
    ("image_trunk", "vlad"),
    ("text_trunk", "vlad"),
    ("image_head", "global"),
    ("text_head", "global"),
)
"""Arrows that both figures with tokens have."""


def pooled(**parts: Box) -> dict[str, Box]:
    """Return the boxes of a method on pooled features: inputs, hash heads, codes, and `parts`."""
    return {
        "pictures": Box("pictures", "input", 0, 0),
        "texts": Box("texts", "input", 0, 2),
        "image_features": Box("image features\nfrozen encoder", "input", 1, 0),
        "text_features": Box("text features\nfrozen encoder", "input", 1, 2),
        "image_head": Box("image hash head\nthen tanh", "net", 2, 0),
        "text_head": Box("text hash head\nthen tanh", "net", 2, 2),
        "image_code": Box("relaxed image code\nits sign is the code", "code", 3, 0),
        "text_code": Box("relaxed text code\nits sign is the code", "code", 3, 2),
        **parts,
    }


def with_tokens(**parts: Box) -> dict[str, Box]:
    """Return the boxes of a method on class and content tokens, and `parts`."""
    return {
        "pictures": Box("pictures", "input", 0, 0),
        "texts": Box("texts", "input", 0, 2),
        "image_features": Box("class and patch\ntokens", "input", 1, 0),
        "text_features": Box("class and word\ntokens", "input", 1, 2),
        "image_trunk": Box("image trunk\nclass meets content", "net", 2, 0),
        "text_trunk": Box("text trunk\nclass meets content", "net", 2, 2),
        "image_head": Box("image hash head\nof the class token", "code", 3, 0),
        "text_head": Box("text hash head\nof the class token", "code", 3, 2),
        "vlad": Box("shared GhostVLAD\nlocal embeddings", "net", 3, 1, True),
        "global": Box("global contrast\nof relaxed codes", "loss", 4, 0, True),
        **parts,
    }


def pooled_arrows(*more: tuple[str, str]) -> Sequence[tuple[str, str]]:
    """Return the arrows of a method on pooled features, and `more`."""
    return (
        ("pictures", "image_features"),
        ("texts", "text_features"),
        ("image_features", "image_head"),
        ("text_features", "text_head"),
        ("image_head", "image_code"),
        ("text_head", "text_code"),
        *more,
    )


FLOWS: Mapping[str, Flow] = {
    "agch": Flow(
        "AGCH: codes, fused codes and graph codes meet an aggregated similarity",
        pooled(
            target=Box("cosine and distance,\naggregated", "target", 2, 1, True),
            graph=Box("fusion layer and\ngraph networks", "net", 3, 1, True),
            losses=Box("intra, cross, fusion,\ngraph", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "graph"),
            ("graph", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "cagan": Flow(
        "CAGAN: codes and graph codes reproduce an enhanced similarity",
        pooled(
            target=Box("fused and enhanced\nsimilarity", "target", 2, 1, True),
            graph=Box("adaptive graph\nattention, its codes", "net", 3, 1, True),
            losses=Box("intra, cross, graph,\ndistillation", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "graph"),
            ("graph", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "cfrh": Flow(
        "CFRH: two autoencoders whose codes reproduce a fused affinity",
        pooled(
            target=Box("fused affinity\nof the batch", "target", 2, 1, True),
            similarity=Box("intra and cross:\ncosines meet affinity", "loss", 4, 1, True),
            image_decoder=Box("decoder, back to\nimage features", "loss", 4, 0, True),
            text_decoder=Box("decoder, back to\ntext features", "loss", 4, 2, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "similarity"),
            ("image_code", "similarity"),
            ("text_code", "similarity"),
            ("image_code", "image_decoder"),
            ("text_code", "text_decoder"),
        ),
    ),
    "dsah": Flow(
        "DSAH: codes align with a mixture and decode to features of the other modality",
        pooled(
            target=Box("mixed similarity\nof the batch", "target", 2, 1, True),
            align=Box("align, own, pair,\nsymmetry", "loss", 4, 1, True),
            text_decoder=Box("decoder, to the\ntext's features", "loss", 4, 0, True),
            image_decoder=Box("decoder, to the\npicture's features", "loss", 4, 2, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "align"),
            ("image_code", "align"),
            ("text_code", "align"),
            ("image_code", "text_decoder"),
            ("text_code", "image_decoder"),
        ),
    ),
    "duch": Flow(
        "DUCH: contrast of pairs, and of each side with another view of itself",
        pooled(
            views=Box("other views through\nthe same heads", "net", 2, 1, True),
            view_codes=Box("relaxed codes\nof other views", "code", 3, 1, True),
            contrast=Box("contrast, inter\nand intra", "loss", 4, 0, True),
            binary=Box("quantization\nand balance", "loss", 4, 1, True),
            game=Box("discriminator,\nwhere it has a weight", "loss", 4, 2, True),
        ),
        pooled_arrows(
            ("image_features", "views"),
            ("text_features", "views"),
            ("views", "view_codes"),
            ("image_code", "contrast"),
            ("text_code", "contrast"),
            ("view_codes", "contrast"),
            ("image_code", "binary"),
            ("text_code", "binary"),
            ("view_codes", "binary"),
            ("image_code", "game"),
            ("text_code", "game"),
            ("view_codes", "game"),
        ),
    ),
    "ucch": Flow(
        "UCCH: contrast with a bank of binary codes, and a ranking loss",
        pooled(
            bank=Box("bank of binary codes,\nmoves with momentum", "target", 3, 1, True),
            contrast=Box("contrast of codes\nwith the bank's", "loss", 4, 0, True),
            ranking=Box("ranking loss\nacross modalities", "loss", 4, 2, True),
        ),
        pooled_arrows(
            ("bank", "contrast"),
            ("image_code", "contrast"),
            ("text_code", "contrast"),
            ("image_code", "ranking"),
            ("text_code", "ranking"),
        ),
    ),
    "ucmfh": Flow(
        "UCMFH: both tokens of a pair teach, each passes alone for a code",
        pooled(
            image_head=Box("image token alone,\ntransformer, head", "net", 2, 0),
            text_head=Box("text token alone,\ntransformer, head", "net", 2, 2),
            teacher=Box("both tokens together,\nthe same transformer", "net", 2, 1, True),
            likeness=Box("likeness of\nfused tokens", "target", 3, 1, True),
            contrast=Box("contrast of codes", "loss", 4, 0, True),
            taught=Box("teacher: codes meet\nthe likeness", "loss", 4, 1, True),
            fusion=Box("contrast of\nfused tokens", "loss", 4, 2, True),
        ),
        pooled_arrows(
            ("image_features", "teacher"),
            ("text_features", "teacher"),
            ("teacher", "likeness"),
            ("likeness", "taught"),
            ("likeness", "fusion"),
            ("image_code", "contrast"),
            ("text_code", "contrast"),
            ("image_code", "taught"),
            ("text_code", "taught"),
        ),
    ),
    "jdsh": Flow(
        "JDSH: codes reproduce a joint similarity, weighted by where it lies",
        pooled(
            target=Box("joint similarity,\nweighted", "target", 2, 1, True),
            similarity=Box("cross and intra:\ncosines meet target", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "similarity"),
            ("image_code", "similarity"),
            ("text_code", "similarity"),
        ),
    ),
    "cirh": Flow(
        "CIRH: a network over both modalities teaches two hash heads",
        pooled(
            relations=Box("relations kept over\nthe training set", "target", 2, 1, True),
            network=Box("graph convolutions of\nboth, joint codes", "net", 3, 1, True),
            decoded=Box("decoded features and\nreproduced relations", "loss", 4, 0, True),
            follow=Box("heads follow the\njoint codes' signs", "loss", 4, 2, True),
        ),
        pooled_arrows(
            ("image_features", "relations"),
            ("text_features", "relations"),
            ("relations", "network"),
            ("network", "decoded"),
            ("network", "follow"),
            ("image_code", "follow"),
            ("text_code", "follow"),
        ),
    ),
    "dgcpn": Flow(
        "DGCPN: codes reproduce similarities and the coherence of neighbourhoods",
        pooled(
            target=Box("similarity, coherence\nof neighbourhoods", "target", 2, 1, True),
            losses=Box("similarity, partners,\nconsistency; half signs", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "vtm-uch": Flow(
        "VTM-UCH: similarities and communities together decide what codes reproduce",
        pooled(
            guided=Box("texts, guided by\nnear pictures", "target", 2, 1, True),
            target=Box("alike pairs and their\ncommunities: target", "target", 3, 1, True),
            losses=Box("similarity and\nalignment", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "guided"),
            ("text_features", "guided"),
            ("guided", "target"),
            ("target", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "nested": Flow(
        "Nested: left-out predictions of two regressions teach the bits",
        pooled(
            image_head=Box("kernel regression\nto the common space", "net", 2, 0),
            text_head=Box("kernel regression\nto the common space", "net", 2, 2),
            target=Box("common space: pictures\nand mean texts", "target", 2, 1, True),
            image_code=Box("bits, the same map;\nprefixes are codes", "code", 3, 0),
            text_code=Box("bits, the same map;\nprefixes are codes", "code", 3, 2),
            loss=Box("partners, neighbours,\nsimilarities", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "image_head"),
            ("target", "text_head"),
            ("target", "loss"),
            ("image_code", "loss"),
            ("text_code", "loss"),
        ),
    ),
    "nested-labelled": Flow(
        "Nested with labels: labels are a part of the common space",
        pooled(
            labels=Box("labels of the\ntraining pairs", "input", 0, 1, True),
            image_head=Box("kernel regression\nto the common space", "net", 2, 0),
            text_head=Box("kernel regression\nto the common space", "net", 2, 2),
            target=Box("common space: pictures,\nmean texts, labels", "target", 2, 1, True),
            image_code=Box("bits, the same map;\nprefixes are codes", "code", 3, 0),
            text_code=Box("bits, the same map;\nprefixes are codes", "code", 3, 2),
            loss=Box("partners, neighbours,\nsimilarities", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("labels", "target"),
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "image_head"),
            ("target", "text_head"),
            ("target", "loss"),
            ("image_code", "loss"),
            ("text_code", "loss"),
        ),
    ),
    "djsrh": Flow(
        "DJSRH: codes reproduce a joint-semantics affinity",
        pooled(
            target=Box("joint affinity, first\nand second order", "target", 2, 1, True),
            similarity=Box("cross and intra:\ncosines meet affinity", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "target"),
            ("text_features", "target"),
            ("target", "similarity"),
            ("image_code", "similarity"),
            ("text_code", "similarity"),
        ),
    ),
    "hugging-hash": Flow(
        "HuggingHash: class tokens become codes, content tokens align concepts",
        with_tokens(local=Box("local contrast,\nconcept by concept", "loss", 4, 1, True)),
        (*TOKENS, ("vlad", "local")),
    ),
    "hugging-hash-plus": Flow(
        "HuggingHash+: local embeddings are quantized and rerank the shortlist",
        with_tokens(
            vlad=Box("shared GhostVLAD\nlocal embeddings", "net", 3, 1),
            quantizer=Box("rotation and product\nquantizer a concept", "net", 4, 1),
            local=Box("local and asymmetric\nquantized contrast", "loss", 5, 1, True),
            fine=Box("finer codes:\nreranking", "code", 5, 2),
        ),
        (*TOKENS, ("vlad", "quantizer"), ("quantizer", "local"), ("quantizer", "fine")),
    ),
    "ms2gah": Flow(
        "MS2GAH: a label encoder and graph attention guide the codes",
        pooled(
            labels=Box("labels of the\ntraining pairs", "input", 0, 1, True),
            encoder=Box("label encoder\nits features and code", "net", 1, 1, True),
            graph=Box("graph attention over\npairs sharing a label", "net", 3, 1, True),
            losses=Box("guidance, cross, graph,\nclasses, quantization", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("labels", "encoder"),
            ("encoder", "graph"),
            ("image_head", "graph"),
            ("text_head", "graph"),
            ("graph", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "dcmh": Flow(
        "DCMH: a batch's codes meet the kept codes of all training pairs",
        pooled(
            image_head=Box("image hash head\nno tanh", "net", 2, 0),
            text_head=Box("text hash head\nno tanh", "net", 2, 2),
            labels=Box("labels of the\ntraining pairs", "input", 0, 1, True),
            kept=Box("kept codes of all\npairs, common signs", "target", 3, 1, True),
            losses=Box("pairs, quantization,\nbalance", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("labels", "kept"),
            ("kept", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "dchmt": Flow(
        "DCHMT: bits select between two scores; labels say what is near and far",
        pooled(
            image_head=Box("image hash head\nsoftmax of two scores", "net", 2, 0),
            text_head=Box("text hash head\nsoftmax of two scores", "net", 2, 2),
            image_code=Box("image selections\nthe likelier is the code", "code", 3, 0),
            text_code=Box("text selections\nthe likelier is the code", "code", 3, 2),
            labels=Box("labels of the\ntraining pairs", "input", 0, 1, True),
            losses=Box("near and far:\ndistances by labels", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("labels", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "gch": Flow(
        "GCH: a label network and a graph over shared labels guide the codes",
        pooled(
            labels=Box("labels of the\ntraining pairs", "input", 0, 1, True),
            teacher=Box("label network\nsigns of its codes", "net", 1, 1, True),
            graph=Box("graph convolutions\nover shared labels", "net", 3, 1, True),
            losses=Box("guidance, graph,\nfeedback, classes", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("labels", "teacher"),
            ("teacher", "graph"),
            ("image_head", "graph"),
            ("text_head", "graph"),
            ("graph", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "ssah": Flow(
        "SSAH: a label network teaches, critics judge",
        pooled(
            labels=Box("labels of the\ntraining pairs", "input", 0, 1, True),
            teacher=Box("label network\nits features and code", "net", 1, 1, True),
            critics=Box("critics: features of\nlabels, or not", "net", 3, 1, True),
            losses=Box("guidance, classes,\nquantization, adversary", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("labels", "teacher"),
            ("teacher", "critics"),
            ("image_head", "critics"),
            ("text_head", "critics"),
            ("critics", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
    "sgrn": Flow(
        "SGRN: relation graphs are rebased, joined and reconstructed by codes",
        pooled(
            local=Box("image and text graphs,\nrebased", "target", 2, 1, True),
            joint=Box("joint graph,\nreconstructed", "target", 3, 1, True),
            losses=Box("intra, joint, pair,\nconsistency", "loss", 4, 1, True),
        ),
        pooled_arrows(
            ("image_features", "local"),
            ("text_features", "local"),
            ("local", "joint"),
            ("joint", "losses"),
            ("image_code", "losses"),
            ("text_code", "losses"),
        ),
    ),
}
"""Name of a method's page to its figure."""
