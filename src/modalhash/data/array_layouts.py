"""Collections of arrays in the layouts that papers pass on: what `array_sources` reads by.

A layout says which files of a folder hold which arrays, and what these arrays are: features of all
items or of a part (training items, queries, database), labels, pixels, positions of splits. A
source tries its layouts in order. PATH is the folder; the folder and the start of the files' names
(`data/mirflickr25k`), where it holds files of several data sets; or a file that holds everything.

- `nine-array`: `I_tr`, `T_tr`, `L_tr` (image, text and labels of the training items), the same with
  `te` (queries) and `db` (database), in one file or three (`mir_train.mat`, `mir_query.mat`,
  `mir_database.mat`). Without `db`, the training items are the database. Training rows that are
  also rows of the database count as one item.
- `iall-yall-lall`: `NAME-iall.mat` (pixels `IAll`, HDF5 by MATLAB, (n, 3, 224, 224)),
  `NAME-iall-vgg.mat` or `NAME-xall-vgg.mat` (features `XAll`), `NAME-yall.mat` (bags of words),
  `NAME-lall.mat` (labels). There are no splits: choose a protocol.
- `ucch`: the same files, or `iapr-tc12-rand.mat`, or `MSCOCO_deep_doc2vec_data_rand.h5py`. The last
  rows are the queries, as UCCH takes them of its shuffled files.
- `dgcpn`: `NAME_vgg19.npy`, `tags.npy`, `label.npy`, and the positions of the splits in
  `test_num.npy`, `val_num.npy` (called `dev`), `train_num.npy` and `database_num.npy`. Or its
  Wikipedia arrays, `train_feature_vgg19.npy`, `train_txt.npy`, `train_label.npy` and the same with
  `test`: the first 231 rows of the test part are for validation, the others are the queries, and
  the training items are the database.
- `dcmh-mat`: DCMH's `FLICKR-25K.mat`, one HDF5 file with `images` (pixels), `YAll` (bags of tags)
  and `LAll` (labels), by MATLAB or by another program, which turns the dimensions around.
- `ucmfh`: `train.pkl`, `query.pkl` and `retrieval.pkl`, each a pickled dict of the arrays `image`,
  `text` and `label`; they are looked at, never unpickled.
- `coco-122k`: UCCH's HDF5 file with `XAll`, `YAll`, `LAll`, whose rows are shuffled.
- `coco-87k`: `COCO.mat` (features `XAll`, labels `LAll`, perhaps pixels `IAll`, and positions
  counted from 1 in `param/indexQuery` and `param/indexDatabase`) and `COCO_BoW.npy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

__all__ = ["ARRAY_FILE", "ARRAY_LAYOUTS", "ArrayLayout", "Slot"]

ARRAY_FILE: Final = r".+\.(?:mat|h5|hdf5|h5py|npz)"
UCCH_QUERIES: Final = {"mirflickr": 2000, "nus": 2100, "coco": 5000, "iapr": 2000}


@dataclass(frozen=True)
class Slot:
    """Where one array of a layout is.

    Attributes:
        side: what it is: "image" (features or pixels), "text", "labels", or "positions" of a split.
        keys: names that the array may have in its file; empty for a .npy file.
        part: the split whose items its rows are, or whose positions it holds; "" for all items.
        file: pattern of the file's whole name; a group `set` is the data set's name.
        example: how the file is called in messages.
        is_required: whether the layout can't be read without it.
    """

    side: Literal["image", "text", "labels", "positions"]
    keys: tuple[str, ...] = ()
    part: str = ""
    file: str = ARRAY_FILE
    example: str = ""
    is_required: bool = True


@dataclass(frozen=True)
class ArrayLayout:
    """Which arrays of which files make a collection.

    Attributes:
        slots: the arrays.
        name: of the collection; "" is the folder's or file's, "{set}" the data set's.
        last_rows: part of a name to how many of the last rows are the queries.
        trains_on_database: whether the database is the split `train` too.
        n_validation: how many of the first rows of the part `test` are the split `dev`.
    """

    slots: tuple[Slot, ...]
    name: str = ""
    last_rows: Mapping[str, int] = field(default_factory=dict)
    trains_on_database: bool = False
    n_validation: int = 0

    @property
    def has_parts(self) -> bool:
        """Tell whether features are given in parts."""
        return any(slot.part and slot.side != "positions" for slot in self.slots)


def part_slots(
    part: str, *keys: str, file: str = ARRAY_FILE, example: str = "", is_required: bool = True
) -> tuple[Slot, ...]:
    """Make the slots of image, text and labels of one part."""
    return (
        Slot("image", (keys[0],), part, file, example, is_required),
        Slot("text", (keys[1],), part, file, example, is_required),
        Slot("labels", (keys[2],), part, file, example, is_required=False),
    )


ALL_FILE: Final = r"(?P<set>.+?)-{}all(?:[-_.]\w+)?\.(?:mat|h5|hdf5|h5py)"
ALL_ARRAYS: Final = (
    Slot("image", ("XAll", "IAll", "FAll"), "", ALL_FILE.format("[ix]"), "NAME-iall.mat"),
    Slot("text", ("YAll",), "", ALL_FILE.format("y"), "NAME-yall.mat"),
    Slot("labels", ("LAll",), "", ALL_FILE.format("l"), "NAME-lall.mat", is_required=False),
)
COCO_FILE: Final = r"MSCOCO_deep_doc2vec_data_rand\.h5py"
COCO_122K: Final = part_slots("", "XAll", "YAll", "LAll", file=COCO_FILE, example=COCO_FILE)
WIKI_SIDES: Final[tuple[tuple[Literal["image", "text", "labels"], str], ...]] = (
    ("image", "feature_vgg19"), ("text", "txt"), ("labels", "label"),
)  # fmt: skip
COCO_MAT: Final = r"COCO\.mat"

ARRAY_LAYOUTS: Final[Mapping[str, tuple[ArrayLayout, ...]]] = {
    "nine-array": (
        ArrayLayout(
            tuple(
                slot
                for part, short in (("train", "tr"), ("test", "te"), ("database", "db"))
                for slot in part_slots(
                    part, f"I_{short}", f"T_{short}", f"L_{short}", is_required=False
                )
            )
        ),
    ),
    "iall-yall-lall": (ArrayLayout(ALL_ARRAYS, "{set}"),),
    "ucch": (
        ArrayLayout(
            (
                *part_slots("database", "VDatabase", "YDatabase", "databaseL",
                            file=r"iapr-tc12-rand\.mat", example="iapr-tc12-rand.mat"),
                *part_slots("test", "VTest", "YTest", "testL",
                            file=r"iapr-tc12-rand\.mat", example="iapr-tc12-rand.mat"),
            ),
            "iapr-tc12",
            trains_on_database=True,
        ),
        ArrayLayout(COCO_122K, "{set}", last_rows=UCCH_QUERIES),
        ArrayLayout(ALL_ARRAYS, "{set}", last_rows=UCCH_QUERIES),
    ),
    "dgcpn": (
        ArrayLayout(
            (
                Slot("image", file=r"(?P<set>.+)_vgg19\.npy|image\.npy", example="NAME_vgg19.npy"),
                Slot("text", file=r"tags\.npy", example="tags.npy"),
                Slot("labels", file=r"label\.npy", example="label.npy"),
                *(
                    Slot("positions", (), part, rf"{name}_num\.npy", is_required=False)
                    for name, part in (("train", "train"), ("val", "dev"), ("test", "test"),
                                       ("database", "database"))
                ),
            ),
            "{set}",
        ),
        ArrayLayout(
            tuple(
                Slot(side, (), part, rf"{name}_{kind}\.npy", f"{name}_{kind}.npy", kind != "label")
                for part, name in (("database", "train"), ("test", "test"))
                for side, kind in WIKI_SIDES
            ),
            "wiki",
            trains_on_database=True,
            n_validation=231,
        ),
    ),
    "dcmh-mat": (
        ArrayLayout(
            (
                Slot("image", ("images", "IAll"), example="FLICKR-25K.mat"),
                Slot("text", ("YAll",), example="FLICKR-25K.mat"),
                Slot("labels", ("LAll",), example="FLICKR-25K.mat"),
            )
        ),
    ),
    "ucmfh": (
        ArrayLayout(
            tuple(
                replace(slot, is_required=True)
                for part, name in (("train", "train"), ("test", "query"), ("database", "retrieval"))
                for slot in part_slots(part, "image", "text", "label",
                                       file=rf"{name}\.(?:pkl|pickle)", example=f"{name}.pkl")
            )
        ),
    ),
    "coco-122k": (ArrayLayout(COCO_122K, "coco-122k"),),
    "coco-87k": (
        ArrayLayout(
            (
                Slot("image", ("XAll", "IAll"), file=COCO_MAT, example="COCO.mat"),
                Slot("labels", ("LAll",), file=COCO_MAT, example="COCO.mat"),
                Slot("positions", ("param/indexQuery",), "test", COCO_MAT, "COCO.mat"),
                Slot("positions", ("param/indexDatabase",), "database", COCO_MAT, "COCO.mat"),
                Slot("text", (), file=r"COCO_BoW\.npy", example="COCO_BoW.npy"),
            ),
            "coco-87k",
        ),
    ),
}  # fmt: skip
"""Source to its layouts, tried in order. A new layout is its lines here."""
