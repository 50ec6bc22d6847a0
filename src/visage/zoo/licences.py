"""Under which terms weights may be used, and what an operator has to say before they are.

A licence that is not known to be permissive needs its id in ACCEPT_LICENCES; one that nobody stated as well.
"""

from collections.abc import Collection, Iterable, Mapping

from visage.errors import ConfigurationError, LicenceNotAccepted

# Texts that allow any use; ids are SPDX's in lower case. "own": a file that the operator brings along.
PERMISSIVE = frozenset(
    {"mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "cc-by-4.0", "unlicense", "0bsd", "own"}
)

MEANINGS: Mapping[str, str] = {
    "mit": "any use, with the copyright notice kept",
    "apache-2.0": "any use, with the licence and notices kept",
    "insightface-nc": "InsightFace's pretrained models: non-commercial research only",
    "gpl-3.0": "copyleft: whoever passes it on passes on the source of what is combined with it, under the same terms",
    "unstated": "its author published no licence: without their word no use is granted",
    "own": "a file of your own, whose terms you know",
}


def needs_acceptance(licence_id: str) -> bool:
    """Whether weights under `licence_id` are used only where ACCEPT_LICENCES names it."""
    return licence_id.lower() not in PERMISSIVE


def require(name: str, licence_id: str, accepted: Collection[str]) -> None:
    """Raises LicenceNotAccepted, saying exactly what to set, unless `licence_id` is permissive or accepted."""
    wanted = licence_id.lower()
    if needs_acceptance(wanted) and wanted not in accepted:
        flags = ",".join([*accepted, wanted])
        meaning = MEANINGS.get(wanted, "see the catalogue")
        raise LicenceNotAccepted(
            f"{name}: its weights are under {wanted!r} ({meaning}); if that suits you set ACCEPT_LICENCES={flags}"
        )


def check_flags(accepted: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigurationError for a word of ACCEPT_LICENCES that is no licence of the catalogue."""
    choice = sorted({*MEANINGS, *(k.lower() for k in known)})
    for flag in accepted:
        if flag not in choice:
            asking = ", ".join(c for c in choice if needs_acceptance(c))
            raise ConfigurationError(
                f"ACCEPT_LICENCES: {flag!r} is no licence of the catalogue; those that ask: {asking}"
            )
