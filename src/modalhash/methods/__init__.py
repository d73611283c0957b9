"""One file per published method, and the table that finds them without importing torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from modalhash.errors import UnknownNameError

if TYPE_CHECKING:
    from modalhash.methods.base import Method

__all__ = ["METHODS", "method_class"]

METHODS = {
    "random": "modalhash.methods.random_projection:RandomProjection",
    "lsh": "modalhash.methods.lsh:Lsh",
    "feature-sign": "modalhash.methods.feature_sign:FeatureSign",
    "cca-sign": "modalhash.methods.cca_sign:CcaSign",
    "cca-itq": "modalhash.methods.cca_itq:CcaItq",
    "pca-itq": "modalhash.methods.pca_itq:PcaItq",
    "cvh": "modalhash.methods.cvh:Cvh",
    "imh": "modalhash.methods.imh:Imh",
    "cmfh": "modalhash.methods.cmfh:Cmfh",
    "lssh": "modalhash.methods.lssh:Lssh",
    "fsh": "modalhash.methods.fsh:Fsh",
    "djsrh": "modalhash.methods.djsrh:Djsrh",
    "jdsh": "modalhash.methods.jdsh:Jdsh",
    "dsah": "modalhash.methods.dsah:Dsah",
    "dgcpn": "modalhash.methods.dgcpn:Dgcpn",
    "agch": "modalhash.methods.agch:Agch",
    "cirh": "modalhash.methods.cirh:Cirh",
    "ucch": "modalhash.methods.ucch:Ucch",
    "duch": "modalhash.methods.duch:Duch",
    "ucmfh": "modalhash.methods.ucmfh:Ucmfh",
    "cagan": "modalhash.methods.cagan:Cagan",
    "sgrn": "modalhash.methods.sgrn:Sgrn",
    "cfrh": "modalhash.methods.cfrh:Cfrh",
    "hugging-hash": "modalhash.methods.hugging_hash:HuggingHash",
    "hugging-hash-plus": "modalhash.methods.hugging_hash_plus:HuggingHashPlus",
    "nested": "modalhash.methods.nested:Nested",
    "dcmh": "modalhash.methods.dcmh:Dcmh",
    "ssah": "modalhash.methods.ssah:Ssah",
    "gch": "modalhash.methods.gch:Gch",
    "dchmt": "modalhash.methods.dchmt:Dchmt",
    "ms2gah": "modalhash.methods.ms2gah:Ms2gah",
    "nested-labelled": "modalhash.methods.nested_labelled:NestedLabelled",
}
"""Name to module and class, loaded on demand: floors, closed forms, trained ones, then those that
learn from labels."""


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
