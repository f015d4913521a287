"""This module writes the list of the executable's parts as a CycloneDX document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion

from owners import Owner


def document(
    executable: Path,
    version: str,
    inside: Mapping[Owner, Iterable[str]],
    epoch_s: int,
    needs: Mapping[str, str],
) -> str:
    """Return JSON with each owner in `inside` and its parts of `executable`; `needs` are properties with the
    executable's needs of the system. Nothing in it depends on the time or place of the build."""
    digest = sha256(executable.read_bytes()).hexdigest()
    licences = LicenseFactory()
    program = Component(
        name="minicloud",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="minicloud",
        licenses=[licences.make_from_string("Apache-2.0")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        properties=[Property(name=name, value=value) for name, value in needs.items()],
    )
    components = [_component(owner, parts, licences) for owner, parts in inside.items()]
    bom = Bom(components=components, serial_number=uuid5(NAMESPACE_URL, f"urn:sha256:{digest}"))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch_s, UTC)
    bom.metadata.component = program
    bom.register_dependency(program, components)
    outputter = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return outputter.output_as_string(indent=2) + "\n"


def _component(owner: Owner, parts: Iterable[str], licences: LicenseFactory) -> Component:
    return Component(
        name=owner.name,
        version=owner.version,
        type=ComponentType.LIBRARY,
        bom_ref=owner.purl.to_string(),
        purl=owner.purl,
        licenses=_licences(owner, licences),
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(owner.homepage))]
        if owner.homepage
        else [],
        properties=[Property(name="minicloud:part", value=part) for part in parts],
    )


def _licences(owner: Owner, licences: LicenseFactory) -> list[License]:
    made = [licences.make_from_string(text) for text in owner.licences]
    expressions = [each for each in made if isinstance(each, LicenseExpression)]
    # The format allows one expression, or names, never both.
    return list(expressions[:1]) or [each for each in made if isinstance(each, DisjunctiveLicense)]
