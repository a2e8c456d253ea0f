"""Health data: normalised records, units, and what makes a provider payload trustworthy."""
