"""What axe-core finds on a page that keeps people out: https://github.com/dequelabs/axe-core."""

from __future__ import annotations

import json
from importlib.resources import files

from web.browser import Browser

# Folded parts are opened, as they are read too; what the page has drawn in the meantime is looked at as it stands.
_LOOK = """
document.querySelectorAll("details").forEach(part => { part.open = true });
axe.run(document, {resultTypes: ["violations"]}).then(found => JSON.stringify(found.violations.map(one =>
    [one.impact, one.id, one.nodes.length, one.nodes[0].html.slice(0, 300), one.nodes[0].failureSummary])))
"""


def violations(page: Browser) -> list[str]:
    """Everything that axe objects to on the page that is open, small things too; its code comes past the page's policy."""
    page.value((files("axe_core_python") / "axe.min.js").read_text() + "; undefined")
    return [" | ".join(map(str, one)) for one in json.loads(page.value(_LOOK))]
