"""Recognise the layout of a file or folder by the names in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["likely_layouts"]


@dataclass(frozen=True)
class Layout:
    """How a layout is recognised.

    Attributes:
        source: the source that reads it; "" for a plain folder.
        names: patterns that must all be found: names of arrays or keys in a file, or of files in a
            folder, where "a|b" is found if either is.
        of_folder: whether the source takes the folder of the file that was looked at.
        files: what the file must be called, as patterns for `Path.match`; empty for any.
    """

    source: str
    names: tuple[str, ...]
    of_folder: bool = False
    files: tuple[str, ...] = ()


_OF_FILES: Final = (
    Layout("nine-array", ("I_tr", "T_tr", "L_tr|L_te", "T_te")),
    Layout("nine-array", ("I_tr|I_te|I_db", "T_tr|T_te|T_db", "L_tr|L_te|L_db"), of_folder=True),
    Layout("wiki", ("I_tr", "T_tr", "I_te", "T_te"), files=("raw_features.mat",)),
    Layout("wiki", ("image_train", "text_train", "label_train", "class_names")),
    Layout("features", ("image|image_train", "text|text_train"), files=("*.npz", "*.mat", "*.h5")),
    Layout("ucch", ("VDatabase", "YDatabase", "VTest", "YTest")),
    Layout("coco-87k", ("param/indexQuery", "LAll"), of_folder=True),
    Layout("coco-122k", ("XAll", "YAll", "LAll"), files=("*.h5py", "*.h5", "*.hdf5")),
    Layout("ucmfh", ("image", "text", "label"), True, ("*.pkl", "*.pickle")),
    Layout("iall-yall-lall", ("IAll|XAll|YAll|LAll",), True, ("*-?all*.mat",)),
    Layout("ucch", ("XAll|YAll|LAll",), True, ("*-?all*.mat",)),
    Layout("three-file", ("index|imgs|FAll",), True, ("index.mat", "imgList.mat")),
    Layout("three-file", ("caption|tags|YAll|captions",), True, ("caption.mat", "tagList.mat")),
    Layout("three-file", ("category|LAll|labels|label",), True, ("label.mat", "labelList.mat")),
    Layout("flickr8k", ("images",), True, ("dataset_flickr8k.json",)),
    Layout("flickr30k", ("images",), True, ("dataset_flickr30k.json",)),
    Layout("rsicd", ("images",), True, ("dataset_rsicd.json",)),
    Layout("ucm", ("images",), True, ("dataset_ucm.json",)),
    Layout("msrvtt", ("videos", "sentences"), of_folder=True),
    Layout("coco", ("images", "annotations"), True, ("instances_*.json", "captions_*.json")),
    Layout("webdataset", (".jpg|.jpeg|.png|.webp", ".txt|.json"), files=("*.tar",)),
)
_OF_FOLDERS: Final = (
    Layout("", ("captions.*", "images")),
    Layout("mirflickr", ("meta/tags|mirflickr/meta/tags",)),
    Layout("nuswide-10", ("ImageList/Imagelist.txt|Imagelist.txt",)),
    Layout("nuswide-21", ("ImageList/Imagelist.txt|Imagelist.txt",)),
    Layout("coco-2014", ("annotations/instances_*2014.json",)),
    Layout("coco-2017", ("annotations/instances_*2017.json",)),
    Layout("iapr", ("annotations_complete_eng|iaprtc12/annotations_complete_eng",)),
    Layout("flickr8k", ("dataset_flickr8k.json|Flickr8k.token.txt|*/Flickr8k.token.txt",)),
    Layout("flickr30k", ("dataset_flickr30k.json|results_20130124.token",)),
    Layout("rsicd", ("dataset_rsicd.json",)),
    Layout("ucm", ("dataset_ucm.json",)),
    Layout("msrvtt", ("MSRVTT_data.json|train_val_videodatainfo.json",)),
    Layout("msvd", ("AllVideoDescriptions.txt",)),
    Layout("wiki", ("raw_features.mat|wiki.npz",)),
    Layout("vtm-uch", ("all_imgs.txt", "all_labels.txt", "all_tags.txt")),
    Layout("dgcpn", ("tags.npy", "label.npy", "*_num.npy")),
    Layout("coco-87k", ("COCO.mat", "COCO_BoW.npy")),
    Layout("coco-122k", ("MSCOCO_deep_doc2vec_data_rand.h5py",)),
    Layout("ucch", ("iapr-tc12-rand.mat",)),
    Layout("iall-yall-lall", ("*-iall*|*-xall*", "*-yall*")),
    Layout("ucch", ("*-iall-*|*-xall*", "*-yall*")),
    Layout("nine-array", ("*_train.mat", "*_query.mat", "*_database.mat")),
    Layout("three-file", ("index.*|imgList.mat", "caption.*|tagList.mat", "label*.mat")),
    Layout("ucmfh", ("train.pkl", "query.pkl", "retrieval.pkl")),
    Layout("clip-retrieval", ("img_emb", "text_emb")),
    Layout("webdataset", ("*.tar",)),
    Layout("features", ("image.npy|image_train.npy", "text.npy|captions.txt|text_train.npy")),
)


def likely_layouts(path: Path, names: list[str]) -> dict[str, str]:
    """Return the sources that may read a file or folder, the likeliest first.

    Args:
        path: the file or folder.
        names: what is in it.

    Returns:
        Source with its path ("nine-array:FILE") to what speaks for it.
    """
    found: dict[str, str] = {}
    for layout in _OF_FOLDERS if path.is_dir() else _OF_FILES:
        if layout.files and not any(path.match(pattern) for pattern in layout.files):
            continue
        seen = [_first_found(pattern, path, names) for pattern in layout.names]
        if not all(seen):
            continue
        if layout.of_folder:
            target = _data_folder(path)
            source = f"{layout.source}:{target}"
        else:
            source = f"{layout.source}:{path}" if layout.source else str(path)
        found.setdefault(source, f"it has {', '.join(seen)}")
    return found


def _first_found(patterns: str, path: Path, names: list[str]) -> str:
    for pattern in patterns.split("|"):
        if path.is_dir():
            match = next(iter(sorted(path.glob(pattern))), None)
            if match is not None:
                return match.relative_to(path).as_posix()
        elif pattern in names:
            return pattern
    return ""


def _data_folder(path: Path) -> Path:
    """Return the folder a source wants: COCO's lies above `annotations`."""
    return path.parent.parent if path.parent.name == "annotations" else path.parent
