"""FHIR R4 / US Core: resources declared once, writers compiled from the declarations."""
