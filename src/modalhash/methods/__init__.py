"""One file per published method, and the table that finds them without importing torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from modalhash.errors import UnknownNameError

if TYPE_CHECKING:
    from modalhash.methods.base import Method

__all__ = ["METHODS", "method_class"]

METHODS = {
    "agch": "modalhash.methods.agch:Agch",
    "cagan": "modalhash.methods.cagan:Cagan",
    "cca-itq": "modalhash.methods.cca_itq:CcaItq",
    "cca-sign": "modalhash.methods.cca_sign:CcaSign",
    "cfrh": "modalhash.methods.cfrh:Cfrh",
    "cirh": "modalhash.methods.cirh:Cirh",
    "cmfh": "modalhash.methods.cmfh:Cmfh",
    "dgcpn": "modalhash.methods.dgcpn:Dgcpn",
    "dchmt": "modalhash.methods.dchmt:Dchmt",
    "dcmh": "modalhash.methods.dcmh:Dcmh",
    "cvh": "modalhash.methods.cvh:Cvh",
    "duch": "modalhash.methods.duch:Duch",
    "djsrh": "modalhash.methods.djsrh:Djsrh",
    "dsah": "modalhash.methods.dsah:Dsah",
    "jdsh": "modalhash.methods.jdsh:Jdsh",
    "feature-sign": "modalhash.methods.feature_sign:FeatureSign",
    "imh": "modalhash.methods.imh:Imh",
    "lsh": "modalhash.methods.lsh:Lsh",
    "lssh": "modalhash.methods.lssh:Lssh",
    "fsh": "modalhash.methods.fsh:Fsh",
    "ms2gah": "modalhash.methods.ms2gah:Ms2gah",
    "nested": "modalhash.methods.nested:Nested",
    "nested-labelled": "modalhash.methods.nested_labelled:NestedLabelled",
    "gch": "modalhash.methods.gch:Gch",
    "hugging-hash": "modalhash.methods.hugging_hash:HuggingHash",
    "hugging-hash-plus": "modalhash.methods.hugging_hash_plus:HuggingHashPlus",
    "pca-itq": "modalhash.methods.pca_itq:PcaItq",
    "random": "modalhash.methods.random_projection:RandomProjection",
    "sgrn": "modalhash.methods.sgrn:Sgrn",
    "ssah": "modalhash.methods.ssah:Ssah",
    "ucch": "modalhash.methods.ucch:Ucch",
    "ucmfh": "modalhash.methods.ucmfh:Ucmfh",
}
"""Name to module and class, loaded on demand."""


def method_class(name: str) -> "type[Method]":
    """Return the class of a method.

    Raises:
        UnknownNameError: if no method has that name, listing those there are.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found
