import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "public_programs.md"
PROGRAM = """
import imp
import sys
from sympy import arg
import numpy as np
import torch
import torchvision
import torchvision.datasets as datasets
import torchvision.transforms as transforms
from torchvision import models

trans = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean=[0.5], std=[0.5])])
assert trans("a picture") == "a picture"
torch.cuda.set_device(0)
numbers = torch.ones(2).cuda()
assert torch.nn.Linear(2, 1).cuda()(numbers).shape == (1,)
assert np.float is float and np.int is int
torch.save({"mean": np.float64(0.5), "weights": numbers}, sys.argv[1])
assert torch.load(sys.argv[1])["mean"] == 0.5
"""


def test_the_shim_gives_programs_what_they_import(tmp_path: Path) -> None:
    section = PAGE.read_text(encoding="utf-8").split("## The shim", 1)[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    (tmp_path / "sitecustomize.py").write_text(block[1], encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path / "checkpoint.t7"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
