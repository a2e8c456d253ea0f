"""The report of a run, for people (HTML) and machines (JSON): ``rendering.render_report`` makes both,
``model`` says from what.
"""
