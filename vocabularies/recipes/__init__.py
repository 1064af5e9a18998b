"""How each vocabulary is made from the sources that its descriptor names; only `vocabularies.build` runs these."""
