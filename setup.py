"""The inner loops in C (`ehrsynth/native.py`); everything else is in pyproject.toml, where extensions are experimental.

Optional: without a compiler the package is built all the same, and numpy does the same work.
"""

import os

from setuptools import Extension, setup

# Products and sums are rounded one by one, as numpy does: no fused operations.
setup(
    ext_modules=[
        Extension(
            "ehrsynth._native",
            [
                f"ehrsynth/compiled/{name}.c"
                for name in (
                    "_native",
                    "_join",
                    "_csv",
                    "_sets",
                    "_draw",
                    "_course",
                    "_order",
                    "_keys",
                    "_combine",
                    "_seed",
                )
            ],
            extra_compile_args=[] if os.name == "nt" else ["-O3", "-ffp-contract=off"],
            depends=["setup.py", "ehrsynth/compiled/_arrays.h", "ehrsynth/compiled/_hash.h"],
            optional=True,
        )
    ]
)
