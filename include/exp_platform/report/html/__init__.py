"""A result as HTML: blocks that the web page and the file of one report are both made of, and their stylesheet.

Whatever data and specs hold is text: the templates escape everything that is not of their own making. Nothing here needs a
script, an inline style or an event handler, so that it stands under a strict content security policy.
"""

from exp_platform.report.html.page import Block, blocks, body, stylesheet

__all__ = ["Block", "blocks", "body", "stylesheet"]
