"""An index as a static web page: any web server hosts it, the browser searches.

`writing` makes the folder. `item_files` writes codes, items and small pictures, `text_files` the
text side of the model (with `word_rules` and `small_weights`), `page_files` the page: that of the
server, where `page/api.js` answers instead of the HTTP API. `runtime` finds onnxruntime-web.
"""

from modalhash.static_site.runtime import TESTED_VERSION, Runtime, find_runtime
from modalhash.static_site.small_weights import Compared, Weights
from modalhash.static_site.writing import ExportedSite, SiteOptions, write_site

__all__ = [
    "TESTED_VERSION",
    "Compared",
    "ExportedSite",
    "Runtime",
    "SiteOptions",
    "Weights",
    "find_runtime",
    "write_site",
]
