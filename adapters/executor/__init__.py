"""The pinned numeric executor: procedures run in a child process whose numeric environment is set, and read
back."""
