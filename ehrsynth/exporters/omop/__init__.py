"""Records as the OMOP Common Data Model 5.4."""
