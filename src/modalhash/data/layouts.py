"""Recognise the layout of a file or folder by the names in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

from modalhash.data.path_patterns import is_left_out
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.data.table_columns import ColumnRoles, GivenColumns, find_roles
from modalhash.errors import InputError

__all__ = ["likely_layouts", "table_layout"]


@dataclass(frozen=True)
class Layout:
    """How a layout is recognised.

    Attributes:
        source: the source that reads it; "" for a plain folder.
        names: patterns that must all be found: names of arrays or keys in a file, or of files in a
            folder, where "a|b" is found if either is. The case of files' names doesn't count.
        of_folder: whether the source takes the folder of the file that was looked at.
        files: what the file must be called, as patterns; empty for any.
        unless: pattern of what must not be found: it would be another layout.
    """

    source: str
    names: tuple[str, ...]
    of_folder: bool = False
    files: tuple[str, ...] = ()
    unless: str = ""


_OF_FILES: Final = (
    Layout("nine-array", ("I_tr", "T_tr", "L_tr|L_te", "T_te")),
    Layout("nine-array", ("I_tr|I_te|I_db", "T_tr|T_te|T_db", "L_tr|L_te|L_db"), of_folder=True),
    Layout("wiki", ("I_tr", "T_tr", "I_te", "T_te"), files=("raw_features.mat",)),
    Layout("wiki", ("image_train", "text_train", "label_train", "class_names")),
    Layout("features", ("image|image_train", "text|text_train"), files=("*.npz", "*.mat", "*.h5")),
    Layout("features", ("image", "text"), files=("*.pkl", "*.pickle", "*.pt", "*.pth")),
    Layout("ucch", ("VDatabase", "YDatabase", "VTest", "YTest")),
    Layout("coco-87k", ("param/indexQuery", "LAll"), of_folder=True),
    Layout("dcmh-mat", ("images|IAll", "YAll", "LAll")),
    Layout("coco-122k", ("XAll", "YAll", "LAll"), files=("*.h5py", "*.h5", "*.hdf5")),
    Layout("ucmfh", ("image", "text", "label"), True, ("*.pkl", "*.pickle")),
    Layout("iall-yall-lall", ("IAll|XAll|YAll|LAll",), True, ("*-?all*.mat",)),
    Layout("ucch", ("XAll|YAll|LAll",), True, ("*-?all*.mat",)),
    Layout("three-file", ("index|imgs|FAll",), True, ("index.mat", "imgList.mat")),
    Layout("three-file", ("caption|tags|YAll|captions",), True, ("caption.mat", "tagList.mat")),
    Layout("three-file", ("category|LAll|labels|label",), True, ("label.mat", "labelList.mat")),
    *(
        Layout(source, ("images",), True, (f"dataset_{name}*.json",))
        for source, name in (
            ("flickr8k", "flickr8k"),
            ("flickr30k", "flickr30k"),
            ("coco-karpathy", "coco"),
            ("rsicd", "rsicd"),
            ("rsitmd", "rsitmd"),
            ("sydney", "sydney"),
            ("ucm", "ucm"),
        )
    ),
    Layout("msrvtt", ("videos", "sentences"), of_folder=True),
    Layout("coco", ("images", "annotations"), True, ("instances_*.json", "captions_*.json")),
    Layout(
        "webdataset",
        (".jpg|.jpeg|.png|.webp", ".txt|.json"),
        files=("*.tar", "*.tar.gz", "*.tgz"),
    ),
    Layout("flickr8k", ("image", "caption"), True, ("captions.txt",)),
    Layout("flickr30k", ("image_name", "comment"), True, ("results.csv",)),
)


def _json_of(name: str) -> str:
    """Write the pattern of a data set's file in Karpathy's form, here or a folder down."""
    return f"dataset_{name}*.json|*/dataset_{name}*.json"


_CAPTION_FILE: Final = "captions.tsv|captions.csv|captions.jsonl|captions.parquet"
_OF_FOLDERS: Final = (
    Layout("", (_CAPTION_FILE, "images|videos")),
    Layout("mirflickr", ("meta/tags|mirflickr/meta/tags",)),
    Layout("nuswide-10", ("ImageList/Imagelist.txt|Imagelist.txt",)),
    Layout("nuswide-21", ("ImageList/Imagelist.txt|Imagelist.txt",)),
    Layout("coco-2014", ("annotations/instances_*2014.json",)),
    Layout("coco-2017", ("annotations/instances_*2017.json",)),
    Layout("iapr", ("annotations_complete_eng|iaprtc12/annotations_complete_eng",)),
    Layout("flickr8k", (f"{_json_of('flickr8k')}|Flickr8k.token.txt|*/Flickr8k.token.txt",)),
    Layout("flickr8k", ("captions.txt", "images|Flicker8k_Dataset|Flickr8k_Dataset")),
    Layout(
        "flickr30k", (f"{_json_of('flickr30k')}|results_20130124.token|*/results_20130124.token",)
    ),
    Layout("flickr30k", ("results.csv|flickr30k_images/results.csv",)),
    Layout("coco-karpathy", (_json_of("coco"),)),
    Layout("rsicd", (_json_of("rsicd"),)),
    Layout("rsitmd", (_json_of("rsitmd"),)),
    Layout("sydney", (_json_of("sydney"),)),
    Layout("ucm", (_json_of("ucm"),)),
    Layout("msrvtt", ("MSRVTT_data.json|train_val_videodatainfo.json",)),
    Layout("msrvtt-1ka", ("MSRVTT_train.*.csv", "MSRVTT_JSFUSION_test.csv")),
    Layout("msvd", ("AllVideoDescriptions.txt|raw-captions.pkl",)),
    Layout("wiki", ("raw_features.mat|wiki.npz",)),
    Layout("wiki-articles", ("trainset_txt_img_cat.list", "texts", "images")),
    Layout("precomp", ("train_ims.npy|test_ims.npy|testall_ims.npy", "*_caps.txt")),
    Layout("vtm-uch", ("all_imgs.txt", "all_labels.txt", "all_tags.txt")),
    Layout("dgcpn", ("train_feature_vgg19.npy", "train_txt.npy", "test_txt.npy")),
    Layout("dgcpn", ("tags.npy", "label.npy", "*_num.npy")),
    Layout("dcmh-mat", ("FLICKR-25K*.mat|NUS-WIDE*.mat",)),
    Layout("coco-87k", ("COCO.mat", "COCO_BoW.npy")),
    Layout("coco-122k", ("MSCOCO_deep_doc2vec_data_rand.h5py",)),
    Layout("ucch", ("iapr-tc12-rand.mat",)),
    Layout("iall-yall-lall", ("*-iall*|*-xall*", "*-yall*")),
    Layout("ucch", ("*-iall-*|*-xall*", "*-yall*")),
    Layout("nine-array", ("*_train.mat", "*_query.mat", "*_database.mat")),
    Layout("three-file", ("index.*|imgList.mat", "caption.*|tagList.mat", "label*.mat")),
    Layout("ucmfh", ("train.pkl", "query.pkl", "retrieval.pkl")),
    Layout("clip-retrieval", ("img_emb", "text_emb")),
    Layout("webdataset", ("*.tar|*.tar.gz|*.tgz|*/*.tar|*/*.tar.gz",)),
    Layout("huggingface", ("metadata.*|*/metadata.*", "*"), unless="*.tar|*/*.tar|img_emb"),
    Layout("huggingface", ("dataset_dict.json|state.json",)),
    Layout(
        "huggingface",
        ("*.parquet|data/*.parquet",),
        unless="captions.parquet|metadata.*|*.tar|*/*.tar|*.tar.gz|img_emb|*/*.json",
    ),
    Layout("features", ("image.npy|image_train.npy", "text.npy|captions.txt|text_train.npy")),
)


def likely_layouts(path: Path, names: Sequence[str]) -> dict[str, str]:
    """List the sources that may read a file or folder, the likeliest first.

    Args:
        path: the file or folder.
        names: what is in the file: names of arrays, keys, columns or suffixes.

    Returns:
        Source with its path ("nine-array:FILE") to what speaks for it.
    """
    sources: dict[str, str] = {}
    present = tuple(_names_below(path)) if path.is_dir() else tuple(names)
    for layout in _OF_FOLDERS if path.is_dir() else _OF_FILES:
        if layout.files and not any(_fits(path.name, pattern) for pattern in layout.files):
            continue
        if layout.unless and _first_found(layout.unless, path, present):
            continue
        seen = [_first_found(pattern, path, present) for pattern in layout.names]
        if not all(seen):
            continue
        if layout.of_folder:
            target = _data_folder(path)
            source = f"{layout.source}:{target}"
        else:
            source = f"{layout.source}:{path}" if layout.source else str(path)
        sources.setdefault(source, f"it has {', '.join(seen)}")
    if not sources and path.is_dir() and (reason := _texts_beside(present)):
        sources[f"text-files:{path}"] = reason
    return sources


def table_layout(path: Path, names: Sequence[str], pictures: Sequence[str]) -> dict[str, str]:
    """Describe how a table can be read by its columns; nothing if no column of pictures is known.

    Args:
        path: the table.
        names: its columns.
        pictures: those that hold picture files.
    """
    try:
        roles = find_roles(names, GivenColumns(), pictures)
    except InputError:
        return {}
    return {f"table:{path}": _describe_roles(roles)} if roles.captions else {}


def _describe_roles(roles: ColumnRoles) -> str:
    return f"it has the columns {', '.join((roles.image, *roles.captions))}"


_LISTED_NAMES: Final = 20_000


def _names_below(folder: Path) -> Iterator[str]:
    """Yield the names in a folder and in the folders there, sorted; hidden ones not counted."""

    def visible(parent: Path) -> list[Path]:
        paths = islice(parent.iterdir(), _LISTED_NAMES)
        return sorted(path for path in paths if not is_left_out(PurePosixPath(path.name)))

    for path in visible(folder):
        yield path.name
        if path.is_dir():
            yield from (f"{path.name}/{below.name}" for below in visible(path))


def _texts_beside(names: Sequence[str]) -> str:
    """Find the first picture that has a text file of its own beside it, as a reason."""
    stems = {name.rpartition(".")[0] for name in names if name.lower().endswith(".txt")}
    for name in names:
        if name.lower().endswith(PICTURE_SUFFIXES) and name.rpartition(".")[0] in stems:
            return f"it has {name} and its text beside it"
    return ""


def _first_found(patterns: str, path: Path, names: Sequence[str]) -> str:
    """Find the first name that one of the patterns "a|b" fits; a name may lie deeper."""
    for pattern in patterns.split("|"):
        if not path.is_dir():
            if pattern in names:
                return pattern
            continue
        if "*" not in pattern and (path / pattern).exists():
            return pattern
        for name in names:
            if name.count("/") == pattern.count("/") and _fits(name, pattern):
                return name
    return ""


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _data_folder(path: Path) -> Path:
    """Find the folder that a source needs: COCO's lies above `annotations`."""
    return path.parent.parent if path.parent.name == "annotations" else path.parent
