"""A package of somebody else's: a method, an encoder and a kind of index for modalhash."""
