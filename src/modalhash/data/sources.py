"""The table of collections that have a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from modalhash.data.reading import SourceReader

__all__ = ["COLLECTIONS", "FOLDER", "Source"]


@dataclass(frozen=True)
class Source:
    """A kind of collection that has a name.

    Attributes:
        usage: how to write it ("wiki:PATH").
        summary: what it is, in a line.
        reader: module and function of its loader, "module:function"; loaded on demand.
        has_argument: whether something must follow the name.
        takes_columns: whether the user may name columns (`--columns`).
    """

    usage: str
    summary: str
    reader: str
    has_argument: bool = False
    takes_columns: bool = False

    def load_reader(self) -> SourceReader:
        """Import the loader."""
        module, _, function = self.reader.partition(":")
        reader: SourceReader = getattr(import_module(module), function)
        return reader


COLLECTIONS: Final[Mapping[str, Source]] = {
    "clip-retrieval": Source(
        "clip-retrieval:PATH",
        "img_emb/, text_emb/ and metadata/ as clip-retrieval writes them",
        "modalhash.data.clip_folders:read_clip_folder",
        has_argument=True,
    ),
    "coco": Source(
        "coco:PATH",
        "Microsoft COCO: pictures, captions and 80 kinds of objects; the year that is there",
        "modalhash.data.coco:read_coco",
        has_argument=True,
    ),
    "coco-122k": Source(
        "coco-122k:PATH",
        "COCO as features, 122,218 pairs: UCCH's HDF5 file",
        "modalhash.data.array_sources:read_coco_122k",
        has_argument=True,
    ),
    "coco-2014": Source(
        "coco-2014:PATH",
        "Microsoft COCO, the parts of 2014",
        "modalhash.data.coco:read_coco_2014",
        has_argument=True,
    ),
    "coco-2017": Source(
        "coco-2017:PATH",
        "Microsoft COCO, the parts of 2017",
        "modalhash.data.coco:read_coco_2017",
        has_argument=True,
    ),
    "coco-87k": Source(
        "coco-87k:PATH",
        "COCO as features, 87,081 pairs: COCO.mat and COCO_BoW.npy",
        "modalhash.data.array_sources:read_coco_87k",
        has_argument=True,
    ),
    "coco-karpathy": Source(
        "coco-karpathy:PATH",
        "Microsoft COCO as Karpathy divided it (dataset_coco.json): photos and captions",
        "modalhash.data.caption_sets:read_coco_karpathy",
        has_argument=True,
    ),
    "dcmh-mat": Source(
        "dcmh-mat:PATH",
        "FLICKR-25K.mat of DCMH: pixels, tags and labels in one file of either orientation",
        "modalhash.data.array_sources:read_dcmh_mat",
        has_argument=True,
    ),
    "dgcpn": Source(
        "dgcpn:PATH",
        "NAME_vgg19.npy, tags.npy, label.npy and indices of the splits (DGCPN)",
        "modalhash.data.array_sources:read_dgcpn",
        has_argument=True,
    ),
    "features": Source(
        "features:PATH",
        "features made elsewhere: a folder of .npy files, or an .npz, .mat, .h5, .pt or .pkl file",
        "modalhash.data.features:read_features",
        has_argument=True,
    ),
    "file-captions": Source(
        "file-captions:PATH",
        "pictures whose files hold their captions, as photo programs write them",
        "modalhash.data.file_captions:read_file_captions",
        has_argument=True,
    ),
    "flickr30k": Source(
        "flickr30k:PATH",
        "Flickr30k: photos with five captions each",
        "modalhash.data.caption_sets:read_flickr30k",
        has_argument=True,
    ),
    "flickr8k": Source(
        "flickr8k:PATH",
        "Flickr8k: photos with five captions each",
        "modalhash.data.caption_sets:read_flickr8k",
        has_argument=True,
    ),
    "iall-yall-lall": Source(
        "iall-yall-lall:PATH",
        "NAME-iall, -yall and -lall.mat: pixels or features, words, labels (DJSRH and others)",
        "modalhash.data.array_sources:read_iall_yall_lall",
        has_argument=True,
    ),
    "iapr": Source(
        "iapr:PATH",
        "IAPR TC-12: photos with descriptions, and the labels of SAIAPR",
        "modalhash.data.iapr:read_iapr",
        has_argument=True,
    ),
    "huggingface": Source(
        "huggingface:PATH",
        "metadata.csv or .jsonl with file_name beside pictures; Parquet; what save_to_disk writes",
        "modalhash.data.table_collections:read_huggingface",
        has_argument=True,
        takes_columns=True,
    ),
    "icons": Source(
        "icons",
        "1,393 pictograms of Font Awesome Free with label, search terms and 68 categories",
        "modalhash.data.icons:read_icons",
    ),
    "mirflickr": Source(
        "mirflickr:PATH",
        "MIRFlickr-25K: photos, tags that 20 photos have, 24 labels",
        "modalhash.data.mirflickr:read_mirflickr",
        has_argument=True,
    ),
    "mirflickr-all": Source(
        "mirflickr-all:PATH",
        "MIRFlickr-25K: every photo that has a label and a tag",
        "modalhash.data.mirflickr:read_mirflickr_all",
        has_argument=True,
    ),
    "msrvtt": Source(
        "msrvtt:PATH",
        "MSR-VTT: videos with twenty captions each, in files, as frames or as features",
        "modalhash.data.video_sets:read_msrvtt",
        has_argument=True,
    ),
    "msrvtt-1ka": Source(
        "msrvtt-1ka:PATH",
        "MSR-VTT divided as 1k-A: 9,000 videos to train, 1,000 with one sentence each to test",
        "modalhash.data.video_sets:read_msrvtt_1ka",
        has_argument=True,
    ),
    "msvd": Source(
        "msvd:PATH",
        "MSVD: short videos with captions, in files, as frames or as features",
        "modalhash.data.video_sets:read_msvd",
        has_argument=True,
    ),
    "nine-array": Source(
        "nine-array:PATH",
        "I_tr, T_tr, L_tr, I_te, ... in one .mat file or three (CIRH and others)",
        "modalhash.data.array_sources:read_nine_array",
        has_argument=True,
    ),
    "nuswide-10": Source(
        "nuswide-10:PATH",
        "NUS-WIDE: photos and tags of the 10 most frequent concepts",
        "modalhash.data.nuswide:read_nuswide_10",
        has_argument=True,
    ),
    "nuswide-21": Source(
        "nuswide-21:PATH",
        "NUS-WIDE: photos and tags of the 21 most frequent concepts",
        "modalhash.data.nuswide:read_nuswide_21",
        has_argument=True,
    ),
    "precomp": Source(
        "precomp:PATH",
        "f30k_precomp or coco_precomp: features of pictures or regions, captions (VSE++, SCAN)",
        "modalhash.data.precomputed:read_precomp",
        has_argument=True,
    ),
    "rsicd": Source(
        "rsicd:PATH",
        "RSICD: satellite pictures with five captions each",
        "modalhash.data.caption_sets:read_rsicd",
        has_argument=True,
    ),
    "rsitmd": Source(
        "rsitmd:PATH",
        "RSITMD: satellite pictures with five captions each",
        "modalhash.data.caption_sets:read_rsitmd",
        has_argument=True,
    ),
    "scenes": Source(
        "scenes[:COUNT[:SEED]]",
        "drawn scenes of coloured shapes with five captions each; 1,000 or as many as you ask for",
        "modalhash.data.scenes:read_scenes",
    ),
    "sydney": Source(
        "sydney:PATH",
        "Sydney captions: aerial pictures with five captions each",
        "modalhash.data.caption_sets:read_sydney",
        has_argument=True,
    ),
    "table": Source(
        "table:PATH",
        "any table of pictures and texts, whose columns you may name: CSV, TSV, JSON, Parquet, ...",
        "modalhash.data.table_collections:read_table_collection",
        has_argument=True,
        takes_columns=True,
    ),
    "text-files": Source(
        "text-files:PATH",
        "pictures with a file of text beside each, as img2dataset's `files` writes them",
        "modalhash.data.text_files:read_text_files",
        has_argument=True,
        takes_columns=True,
    ),
    "three-file": Source(
        "three-file:PATH",
        "index.mat, caption.mat and label.mat beside the pictures (DCHMT and others)",
        "modalhash.data.three_file:read_three_file",
        has_argument=True,
    ),
    "ucch": Source(
        "ucch:PATH",
        "UCCH's feature files: the last rows are the queries",
        "modalhash.data.array_sources:read_ucch",
        has_argument=True,
    ),
    "ucm": Source(
        "ucm:PATH",
        "UCM captions: aerial pictures with five captions each",
        "modalhash.data.caption_sets:read_ucm",
        has_argument=True,
    ),
    "ucmfh": Source(
        "ucmfh:PATH",
        "UCMFH's CLIP features: train.pkl, query.pkl, retrieval.pkl, never unpickled",
        "modalhash.data.array_sources:read_ucmfh",
        has_argument=True,
    ),
    "vtm-uch": Source(
        "vtm-uch:PATH",
        "all_imgs.txt, all_labels.txt, all_tags.txt beside the pictures (VTM-UCH)",
        "modalhash.data.text_lists:read_text_lists",
        has_argument=True,
    ),
    "webdataset": Source(
        "webdataset:PATH",
        "tars of pictures and texts, as img2dataset writes them",
        "modalhash.data.webdataset:read_webdataset",
        has_argument=True,
        takes_columns=True,
    ),
    "wiki": Source(
        "wiki:PATH",
        "Wikipedia articles (2,866 pairs, 10 classes) as features: wiki.npz or raw_features.mat",
        "modalhash.data.wiki:read_wiki",
        has_argument=True,
    ),
    "wiki-articles": Source(
        "wiki-articles:PATH",
        "Wikipedia articles (2,866 pairs, 10 classes): pictures and XML texts",
        "modalhash.data.wiki:read_wiki_articles",
        has_argument=True,
    ),
}
"""Name to source; a folder needs no name. Another source is its file and its lines here."""

FOLDER: Final = Source(
    "FOLDER", "your own pictures and captions", "modalhash.data.folder:read_folder"
)
