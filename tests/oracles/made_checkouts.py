"""Tiny programs in the form of the four public ones: files, functions and what they need; all ours.

Each makes codes that a test can compute itself: the signs of the first bits of a row's features.
They take what a current environment without a GPU lacks.
"""

from pathlib import Path

BROKEN_TORCHVISION = "raise RuntimeError('operator torchvision::nms does not exist')\n"

COMPRESS = """
import numpy as np
import torch

def compress(database, query, n_bits):
    sides = []
    for image, text, labels in (database, query):
        codes = [torch.sign(torch.Tensor(rows[:, :n_bits]).cuda()) for rows in (image, text)]
        sides += [*(side.cpu().numpy() for side in codes), labels]
    return sides
"""

CIRH = {
    "main_coco.py": "",
    "my_opt.py": "from utils import compress\n",
    "utils.py": "import torchvision\nfrom torchvision import transforms\n" + COMPRESS,
    "torchvision.py": BROKEN_TORCHVISION,
    "main_mir.py": """
import argparse
import numpy as np
import scipy.io
import torch
import torchvision.datasets as datasets
from torch.utils.data import DataLoader
from torchvision import transforms
from my_opt import compress

parser = argparse.ArgumentParser()
parser.add_argument("--TRAIN", type=bool)
for name in ("--HASH_BIT", "--GPU_ID", "--K", "--BATCH_SIZE", "--NUM_EPOCH"):
    parser.add_argument(name, type=int, default=0)
config = parser.parse_args()
print(config)

def load(part, end):
    stored = scipy.io.loadmat(f"./datasets/MIRFlickr/mir_{part}.mat")
    return [np.array(stored[f"{letter}_{end}"], dtype=np.float) for letter in "ITL"]

if __name__ == "__main__":
    torch.cuda.set_device(config.GPU_ID)
    transforms.Compose([transforms.ToTensor()])
    network = torch.nn.Linear(2, 2).cuda()
    print("workers", DataLoader([1], num_workers=4).num_workers)
    torch.save({"state": network.state_dict(), "map": np.arange(3)}, "checkpoints/best.pth")
    torch.load("checkpoints/best.pth", map_location=lambda storage, _: storage.cuda())
    open("logs/log.txt", "w").close()
    for epoch in range(config.NUM_EPOCH):
        compress(load("database", "db"), load("query", "te"), config.HASH_BIT)
""",
}

UCCH = {
    "nets.py": "from torch.utils.tensorboard import SummaryWriter\n",
    "torchvision.py": BROKEN_TORCHVISION,
    "src/cmdataset.py": """
import sys
import torchvision.transforms as transforms

def MIRFlickr25K_fea(partition):
    raise AssertionError("it would take the last 2,000 rows as queries")

def MSCOCO_fea(partition):
    raise AssertionError("it would take the last 5,000 rows as queries")

def load(partition):
    return MSCOCO_fea(partition) if "mscoco_fea" in sys.argv else MIRFlickr25K_fea(partition)
""",
    "UCCH.py": """
import sys
import numpy as np
import scipy.spatial
import scipy.spatial.distance
from nets import SummaryWriter
from src.cmdataset import load

def compare(query, database):
    return scipy.spatial.distance.cdist(query, database, "hamming").argsort()

SummaryWriter("logs").add_scalar("loss", 1.0, 1)
n_bits = int(sys.argv[sys.argv.index("--bit") + 1])
print("train", len(load("train")[0]))
database = [np.sign(rows[:, :n_bits]) for rows in load("retrieval")[:2]]
compare(database[0][:20], database[1][:20])
compare(database[1][:20], database[0][:20])
query = [np.sign(rows[:, :n_bits]) for rows in load("test")[:2]]
compare(query[0], database[1])
compare(query[1], database[0])
""",
}

UCMFH = {
    "load_dataset.py": """
import pickle
import torch
from torch.utils.data import DataLoader, TensorDataset

def load_dataset(dataset, batch_size):
    loaders = {}
    for part in ("train", "query", "retrieval"):
        with open(f"/nowhere/data/{dataset}/{part}.pkl", "rb") as file:
            arrays = pickle.load(file)
        sides = [torch.tensor(arrays[name]) for name in ("image", "text", "label")]
        loaders[part] = DataLoader(
            TensorDataset(*sides), batch_size=batch_size, drop_last=True, num_workers=4
        )
    return loaders
""",
    "evaluate.py": "def calculate_top_map(qu_B, re_B, qu_L, re_L, topk):\n    return 0.5\n",
    "model.py": """
from torch import nn

class FuseTransEncoder(nn.Module):
    def __init__(self, num_layers, hidden_size, nhead):
        super(FuseTransEncoder, self).__init__()
        self.d_model = hidden_size

class ImageMlp(nn.Module):
    def __init__(self, input_dim, hash_lens):
        super(ImageMlp, self).__init__()
        self.fc1 = nn.Linear(input_dim, hash_lens)

class TextMlp(nn.Module):
    def __init__(self, input_dim, hash_lens):
        super(TextMlp, self).__init__()
        self.fc1 = nn.Linear(input_dim, hash_lens)
""",
    "ICMR.py": """
import torch
from evaluate import calculate_top_map
from load_dataset import load_dataset
from model import FuseTransEncoder, ImageMlp, TextMlp

def solve(n_bits):
    fuse, heads = FuseTransEncoder(2, 1024, 4), [ImageMlp(512, n_bits), TextMlp(512, n_bits)]
    print("widths", fuse.d_model, *(head.fc1.in_features for head in heads))
    loaders = load_dataset("mirflickr", 128)
    codes = {}
    for part in ("query", "retrieval"):
        batches = list(loaders[part])
        sides = [torch.cat([batch[side] for batch in batches]) for side in (0, 1)]
        [head.fc1(side) for head, side in zip(heads, sides)]
        codes[part] = [side[:, :n_bits].sign().numpy() for side in sides]
    print("train", sum(len(batch[0]) for batch in loaders["train"]))
    for side in (0, 1):
        query, database = codes["query"][side], codes["retrieval"][1 - side]
        calculate_top_map(qu_B=query, re_B=database, qu_L=None, re_L=None, topk=50)
""",
    "demo.py": """
import sys
from ICMR import solve

if __name__ == "__main__":
    solve(int(sys.argv[sys.argv.index("--hash_lens") + 1]))
""",
}

DGCPN = {
    "metric.py": COMPRESS,
    "torchvision.py": BROKEN_TORCHVISION,
    "models.py": """
import torchvision
from torch import nn

class ImgNet(nn.Module):
    def __init__(self, code_len, txt_feat_len):
        super(ImgNet, self).__init__()
        self.fc1 = nn.Linear(4096, 8)
""",
    "train_div.py": """
import numpy as np
from metric import compress
from models import ImgNet

def load(name):
    return np.load(f"/nowhere/dataset/flickr/{name}.npy")

def train(n_bits):
    sides = [load(name) for name in ("flickr_vgg19", "tags", "label")]
    print(ImgNet(code_len=n_bits, txt_feat_len=6).fc1)
    database, query, validation = (
        [rows[load(f"{part}_num")] for rows in sides] for part in ("database", "test", "val")
    )
    compress(database, query, n_bits)
    compress(database, validation, n_bits)
""",
    "train.py": """
import sys
import train_div

if __name__ == "__main__":
    train_div.train(int(sys.argv[sys.argv.index("--bit") + 1]))
""",
}

CHECKOUTS = {"cirh": CIRH, "ucch": UCCH, "ucmfh": UCMFH, "dgcpn": DGCPN}


def make_checkout(program: str, folder: Path) -> Path:
    """Write the files of a made program."""
    for name, text in CHECKOUTS[program].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
