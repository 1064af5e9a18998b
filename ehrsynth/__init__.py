"""ehrsynth learns from health records and generates linked synthetic patients."""
