"""One file per published method, and the table that finds them without importing torch."""

from typing import TYPE_CHECKING

from modalhash.registries import Registry

if TYPE_CHECKING:
    from modalhash.methods.base import Method

__all__ = ["METHODS", "REGISTRY", "method_class", "method_name"]

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
    "vtm-uch": "modalhash.methods.vtm_uch:VtmUch",
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


def _load_bases() -> tuple[type, ...]:
    """Load the classes that every method is a subclass of."""
    from modalhash.methods.base import ClosedFormMethod, GradientMethod

    return ClosedFormMethod, GradientMethod


REGISTRY = Registry("method", "methods", METHODS, _load_bases)
"""Methods of this library and of installed packages."""


def method_class(method: "str | type[Method] | Method") -> "type[Method]":
    """Load the class of a method.

    Args:
        method: a name in `METHODS`, one that an installed package registers, `MODULE:CLASS`, the
            class itself, or an object of it.

    Raises:
        InputError: if a class isn't a whole method, can't be loaded, or two packages register the
            name; the message names the package.
        UnknownNameError: if no method has that name, listing those there are.
    """
    if isinstance(method, str):
        loaded: type[Method] = REGISTRY.load(method)
        return loaded
    the_class = method if isinstance(method, type) else type(method)
    checked: type[Method] = REGISTRY.check_class(the_class, f"method {the_class.__name__}")
    return checked


def method_name(method: "str | type[Method] | Method") -> str:
    """Name a method as records do: by its name, or as `MODULE:CLASS` where it has none."""
    if isinstance(method, str):
        return method
    return REGISTRY.name_of(method if isinstance(method, type) else type(method))
