"""One file or folder per outside thing: logs, vaults, file formats, providers, key stores, executor."""
