"""What Nonet adds to Flower's pages: lists that refresh by themselves and show labels whole. Knows Flower's markup.

Flower's own templates stay as they are; two of them are extended, found as `flower.<name>`.
"""

from __future__ import annotations

from typing import Any

_ORIGINAL = "flower."

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
{% if task.state in ("PENDING", "RECEIVED", "STARTED", "PROGRESS") %}
<script>setTimeout(function () { location.reload(); }, 5000);</script>
{% end %}
{% end %}
"""

PAGES = {"tasks.html": _TASKS, "task.html": _TASK}


def page_loader(folder: str) -> Any:
    """A Tornado template loader over Flower's templates in `folder`, with PAGES over them."""
    from tornado.template import Loader, Template

    class Pages(Loader):
        def _create_template(self, name: str) -> Template:
            if name in PAGES:
                return Template(PAGES[name], name=name, loader=self)
            return super()._create_template(name.removeprefix(_ORIGINAL))

    return Pages(folder)
