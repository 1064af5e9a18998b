"""What names of tables and columns say: keys, sequences, and which entity they speak of."""

from __future__ import annotations

import re

__all__ = ["ends_in", "entities", "entity_of", "is_generic", "is_key_name", "is_sequence_name", "singular", "words"]

_GENERIC = {"id", "row_id", "rowid", "key", "pk", "uid", "uuid", "guid", "record_id", "recordid", "index"}
_GENERIC |= {"no", "no.", "nr", "nr.", "#", "number", "ref", "reference", "accession"}
_KEY_END = re.compile(
    r"^(.*?)(?:[_ .-]?(?:id|uid|uuid|guid|key|sk|nbr|mrn|identifier|#)|[_ .-](?:no|nr|num|number|ref)\.?)$"
)
# What has numbers that name nothing, or a place in an order.
_COUNTED = {"phone", "telephone", "mobile", "fax", "house", "street", "room", "bed", "page", "version", "lot", "batch"}
_COUNTED |= {"seq", "line", "row", "item", "sequence"}
# Words of English (and of medicine) that end like a key and are none.
_NO_KEYS = {"fluid", "paid", "unpaid", "valid", "invalid", "void", "covid", "acid", "lipid", "opioid", "thyroid"}
_NO_KEYS |= {"steroid", "amid", "grid", "rapid", "solid", "risk", "monkey", "turkey", "bid", "tid", "qid", "hybrid"}
_SEQUENCE = re.compile(
    r"(?:^|.*[_ .-])(?:seq|seq_?num|sequence|rank|ordinal|line|line_?(?:no|num|number)|rn|row_?num(?:ber)?|position)$"
)
_PREFIXES = ("dim", "tbl", "fact", "stg", "src", "raw", "d", "t", "v", "vw", "dbo", "public", "hosp", "icu", "ed")


def words(name: str) -> list[str]:
    """Return the words of a name in lower case, cut at anything but letters and digits."""
    return [word for word in re.split(r"[^0-9a-zäöüß]+", name.lower()) if word]


def singular(word: str) -> str:
    """Return the singular of an English plural, as far as table names need it."""
    if word == "people":
        return "person"
    if word.endswith("noses"):
        return f"{word[:-2]}is"
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def is_generic(name: str) -> bool:
    """Whether a name says key and nothing else, as ``id`` does."""
    return name in _GENERIC


def is_key_name(name: str) -> bool:
    """Whether a column is called like a key: ``id``, ``hadm_id``, ``patientid``, ``visit_key``."""
    tail = words(name)[-1:] or [""]
    match = _KEY_END.match(name)
    if match and _COUNTED & set(words(match[1])[-1:]) and not name.endswith("id"):
        return False
    return tail[0] not in _NO_KEYS and (is_generic(name) or name == "mrn" or match is not None)


def is_sequence_name(name: str) -> bool:
    """Whether a column is called like a running number: ``seq_num``, ``line``, ``rank``."""
    return _SEQUENCE.match(name) is not None


def entity_of(column: str) -> str:
    """Return the entity that a column names: ``supervising_provider_id`` gives ``supervising_provider``."""
    match = _KEY_END.match(column) if is_key_name(column) and not is_generic(column) else None
    return singular((match[1] if match and match[1] else column).strip("_ .-"))


def entities(table: str, key: str = "") -> tuple[str, ...]:
    """Return what a row of a table is called, by the table's name and its key's, most telling first."""
    parts = words(table)
    while len(parts) > 1 and parts[0] in _PREFIXES:
        parts = parts[1:]
    found = ["_".join([*parts[:-1], singular(parts[-1])])] if parts else []
    if key and not is_generic(key):
        found.append(entity_of(key))
    return tuple(dict.fromkeys(found))


def ends_in(name: str, entity: str) -> bool:
    """Whether a longer name ends in an entity: ``secondary_payer`` and ``supervisingprovider``, but not ``spec_item``.

    Without a break between the words the entity must have at least five letters, or endings would meet by chance.
    """
    if len(name) <= len(entity) or not name.endswith(entity):
        return False
    return not name[-len(entity) - 1].isalnum() or len(entity) >= 5
