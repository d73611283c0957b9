"""What the Python API pages document: the names that users call, by page.

A page lists names of one or several modules. Names that only the package itself calls have no page;
their docstrings are in the source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["API_PAGES", "ApiPage"]


@dataclass(frozen=True)
class ApiPage:
    """One page.

    Attributes:
        title: of the page.
        intro: what the page is for, in a sentence or two.
        names: module to the names of it that are documented; none stands for all it exports.
    """

    title: str
    intro: str
    names: Mapping[str, Sequence[str]]


API_PAGES: Mapping[str, ApiPage] = {
    "verbs": ApiPage(
        "Verbs",
        "What the commands do, from Python: `import modalhash as mh`, then `mh.train(...)`. "
        "Options that several verbs share are on the page [Options](options.md).",
        {
            "modalhash.data": ["load_collection"],
            "modalhash.api": [
                "extract_features", "train", "load_model", "ready_model", "evaluate",
                "rerank_sweep", "encode", "encode_shards", "shorten", "shorten_codes",
                "calibrate", "build_index", "open_index", "find", "open_folder_index",
                "add_to_index", "upgrade_index", "sync", "SyncCounts",
                "export_onnx", "export_sentence_model", "export_site", "push",
                "PushedFiles", "push_index",
                "verify_index", "repair_index", "IndexReport",
                "IndexRepair", "CodeFolder", "ShardCodes", "RerankSweep", "SweepRow",
            ],
            "modalhash.api.suspecting": ["suspects", "SuspectList", "Suspect"],
            "modalhash.scoring": ["score"],
            "modalhash.trec": ["score_trec", "write_trec"],
            "modalhash.bridges": ["export_codes", "import_codes", "ExportedCodes"],
            "modalhash.model_export": ["ExportedOnnx", "ExportedSentenceModel"],
            "modalhash.static_site": ["ExportedSite", "Compared"],
            "modalhash.tuning": ["tune", "TuningResult", "Trial"],
            "modalhash.benchmarking": [
                "bench", "ablate", "reproduce", "robustness", "Comparison", "Outcome",
                "Reproduction", "Line", "RobustnessStudy", "RobustnessRun", "MtebModel",
                "bench_quantizers", "ArrayInputs", "QuantizerBoard", "QuantizerRow",
            ],
        },
    ),
    "options": ApiPage(
        "Options",
        "Every verb takes its options as one object, or field by field as keywords.",
        {
            "modalhash.options": [
                "RunOptions", "FeatureOptions", "TrainingOptions", "EvaluationOptions",
                "TuningOptions", "GridOptions", "LabelNoiseOptions", "QuantizerOptions",
            ],
            "modalhash.progress": ["Progress", "automatic", "silent"],
        },
    ),
    "models": ApiPage(
        "Models",
        "What `train` and `load_model` return: encodes texts and pictures, knows how it was made.",
        {"modalhash.artifacts": ["HashModel", "ModelRecord", "ModelCalibration", "save_model"]},
    ),
    "search": ApiPage(
        "Searching",
        "What `build_index` and `open_index` return: answers texts and pictures, takes changes.",
        {
            "modalhash.search": [
                "SearchIndex", "SearchRequest", "Answer", "Hit", "Explanation", "NewItem",
                "NewText", "Side",
            ],
        },
    ),
    "retrievers": ApiPage(
        "Retrievers",
        "Stores and retrievers of LangChain and LlamaIndex; see "
        "[LangChain and LlamaIndex](../retrievers.md).",
        {
            "modalhash.retrievers.langchain": ["ModalhashVectorStore"],
            "modalhash.retrievers.llama_index": [
                "ModalhashRetriever", "ModalhashNodeStore", "write_filters",
            ],
            "modalhash.retrievers": ["write_where"],
        },
    ),
    "client": ApiPage(
        "Client", "Sends requests to a server over HTTP.", {"modalhash.client": []}
    ),
    "data": ApiPage(
        "Collections",
        "What `load_collection` returns, how it is divided, checked and converted.",
        {
            "modalhash.data": [
                "Collection", "CollectionSummary", "describe", "Protocol", "apply_protocol",
                "make_splits", "write_splits", "write_split_file", "read_split_file",
                "split_fingerprint", "check_collection", "CheckReport", "convert_collection",
                "Conversion", "inspect_file", "Inspection", "DatasetCard", "card_named",
            ],
        },
    ),
    "videos": ApiPage(
        "Videos",
        "Reading video files, their shots, the names of moments, subtitles.",
        {
            "modalhash.videos": [
                "find_shots", "read_or_find_shots", "ShotSettings", "VideoShots", "Shot",
                "read_frame", "read_frames", "name_moment", "parse_moment", "Span",
                "read_subtitles", "parse_subtitles", "find_subtitles", "Cue",
            ]
        },
    ),
    "metrics": ApiPage(
        "Measures",
        "Measures of rankings and of codes, for codes of your own; "
        "[Measures](../measures.md) has the formulas.",
        {
            "modalhash.metrics": [
                "MeasureSettings", "Report", "DirectionReport", "Measure", "Curve", "Direction",
                "RelevanceRule", "Convention", "Ties", "Gain", "evaluate_direction",
                "evaluate_asymmetric", "evaluate_scores", "match_items", "compare_reports",
                "MeasureComparison",
                "compare_runs", "PairedComparison", "bootstrap_interval", "code_statistics",
                "CodeStatistics", "csv_text",
            ],
        },
    ),
    "reports": ApiPage(
        "Reports",
        "Runs measured side by side, HTML reports, and sheets of answers with their pictures.",
        {"modalhash.reports": []},
    ),
    "codes": ApiPage(
        "Codes",
        "Binarise, pack and compare codes.",
        {
            "modalhash.codes": [
                "binarise", "pack", "unpack", "code_width", "first_bits", "check_codes",
                "hamming_distances", "asymmetric_scores", "weighted_distances", "WeightedQueries",
                "read_codes", "ReadCodes", "BitOrder",
            ],
        },
    ),
    "index": ApiPage(
        "Index of codes",
        "An index for packed codes of your own, and the contract that an index of another engine "
        "fills in.",
        {
            "modalhash.index": [
                "build_index", "open_index", "HashIndex", "SearchableIndex", "Hits",
                "QueryHits", "RadiusHits", "Metadata", "parse_filter", "verify_index",
                "find_damage", "ItemChange",
            ],
        },
    ),
    "encoders": ApiPage(
        "Encoders",
        "What an encoder of your own fills in, and the features that it makes.",
        {
            "modalhash.encoders": [
                "load_encoder", "Encoder", "ImageTower", "TextTower", "Tower", "TowerOutput",
                "Identity", "Features", "FeatureTable", "FeatureStore",
            ],
        },
    ),
    "methods": ApiPage(
        "Methods",
        "What a method of your own fills in; [Development](../development.md#add-a-method) has the "
        "steps, `modalhash.losses` and `modalhash.layers` have terms and heads to make it of.",
        {
            "modalhash.methods.base": [
                "Method", "GradientMethod", "ClosedFormMethod", "Batch", "FeatureShapes", "Heads",
                "LossReport", "Needs", "Term", "TrainingSettings",
            ],
            "modalhash.methods.controls": ["NamedModule", "shuffle_edges", "shuffle_items"],
        },
    ),
    "errors": ApiPage(
        "Errors", "Everything that modalhash raises on purpose.", {"modalhash.errors": []}
    ),
}  # fmt: skip
"""File name in docs/api to the page."""
