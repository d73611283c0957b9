"""A hub of models and data sets, through `huggingface_hub`; asked only where it is named.

`hf://OWNER/NAME` names a model and `hf://datasets/OWNER/NAME` a data set, with `@REVISION` behind.
"""

from modalhash.hub.names import HubName, is_hub_name, read_hub_name
from modalhash.hub.repositories import download_files, upload_files

__all__ = ["HubName", "download_files", "is_hub_name", "read_hub_name", "upload_files"]
