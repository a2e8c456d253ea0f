"""Signal mathematics on arrays: time marks, quality measures, spectra, coherence, delay."""
