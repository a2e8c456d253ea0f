"""The API, the command line and the console, from outside: real requests, real processes, a real browser."""
