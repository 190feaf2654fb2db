"""Everything that is fuzzed, in one table: both the suite and the long command walk it."""

from . import answers, arguments, emulated, files, forms, journals, portal

TARGETS = {
    target.name: target
    for area in (answers, forms, files, journals, portal, emulated, arguments)
    for target in area.TARGETS
}
