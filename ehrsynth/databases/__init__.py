"""Relational databases: the schema as SQL, and tables loaded whole or not at all."""

from ehrsynth.databases.address import Address, address
from ehrsynth.databases.ddl import script
from ehrsynth.databases.dialect import DIALECTS, Dialect
from ehrsynth.databases.target import METADATA, Rows, load

__all__ = ["DIALECTS", "METADATA", "Address", "Dialect", "Rows", "address", "load", "script"]
