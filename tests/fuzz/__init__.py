"""Every parser and verifier, fed with what nobody meant to send.

`test_targets.py` changes good bytes by their structure and is part of the test command; `nox -s fuzz` lets
coverage lead the way (atheris) for as long as one likes.
"""
