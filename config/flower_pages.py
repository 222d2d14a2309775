"""What Nonet adds to Flower's pages: lists that refresh by themselves and show labels whole, links to Nonet's own page.

Knows Flower's markup. Flower's own templates stay as they are; two of them are extended, found as `flower.<name>`, and
one is read with an entry more.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

_ORIGINAL = "flower."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_KEY = re.compile(r"[0-9a-f]{64}")

_TASKS = """\
{% extends "flower.tasks.html" %}
{% block extra_scripts %}
<style>
.tasks-table td.overflow-auto { white-space: normal !important; min-width: 14rem; max-width: 30rem;
  overflow-wrap: anywhere; text-overflow: clip; }
.tasks-table time { white-space: nowrap; }
.task-uuid-full, .dataTables_processing { display: none !important; }
.task-uuid-short { display: inline; }
</style>
<script>
$('#tasks-table th[data-column=args]').text('Work');
$('#tasks-table th[data-column=result]').text('Progress, result');
$('#tasks-table th[data-column=uuid]').text('Details');
var started = $('.task-state-filter[data-task-state=STARTED]');
started.after(started.clone().attr('data-task-state', 'PROGRESS').text('In progress'));
$(document).on('draw.dt', function () {
  var asked = $('#tasks-table').DataTable().search();
  $('.task-state-filter').each(function () {
    var state = $(this).data('task-state'), on = asked === (state ? 'state:' + state : '');
    $(this).toggleClass('active', on).attr('aria-pressed', on);
  });
});
setInterval(function () {
  if (!document.hidden) { $('#tasks-table').DataTable().ajax.reload(null, false); }
}, 2000);
</script>
{% end %}
"""

_TASK = """\
{% extends "flower.task.html" %}
{% block extra_scripts %}
{% if nonet_place(task.kwargs) %}
<script>
$('.detail-actions').prepend($('<a>').attr('href', {% raw json_encode(nonet_place(task.kwargs)) %})
  .attr('id', 'nonet-work').text('Attempts and logs in Nonet'));
</script>
{% end %}
{% if task.state in ("PENDING", "RECEIVED", "STARTED", "PROGRESS") %}
<script>setTimeout(function () { location.reload(); }, 5000);</script>
{% end %}
{% end %}
"""

PAGES = {"tasks.html": _TASKS, "task.html": _TASK}
_NAVBAR = "navbar.html"
_MENU = '<ul class="app-nav navbar-nav">'
_ENTRY = '<li class="nav-item"><a class="nav-link" href="{{ nonet_page }}/">Nonet</a></li>'


def page_loader(folder: str, page: str) -> Any:
    """A Tornado template loader over Flower's templates in `folder`, with PAGES over them and links to Nonet's own
    page at the address `page`."""
    from tornado.template import Loader, Template

    class Pages(Loader):
        def _create_template(self, name: str) -> Template:
            if name in PAGES:
                return Template(PAGES[name], name=name, loader=self)
            if name == _NAVBAR:
                text = Path(folder, name).read_text("utf-8").replace(_MENU, f"{_MENU}{_ENTRY}", 1)
                return Template(text, name=name, loader=self)
            return super()._create_template(name.removeprefix(_ORIGINAL))

    return Pages(folder, namespace={"nonet_page": page, "nonet_place": lambda kwargs: work_place(page, kwargs)})


def work_place(page: str, kwargs: object) -> str | None:
    """Where Nonet's page at `page` shows the work of a task whose keyword arguments Flower has as the text `kwargs`;
    None for what is no task of Nonet's."""
    try:
        told = ast.literal_eval(str(kwargs))
        run, keys = told["run"], told["keys"]
        unit = keys[0]
    except (ValueError, SyntaxError, TypeError, KeyError, IndexError, MemoryError, RecursionError):
        return None
    plain = isinstance(run, str) and isinstance(unit, str) and _NAME.fullmatch(run) and _KEY.fullmatch(unit)
    return f"{page}/runs/{run}/units/{unit}" if plain else None
