"""``twistd victron-twin``."""

from twisted.application.service import ServiceMaker

victron_twin = ServiceMaker(
    "Victron Twin",
    "victron_twin.tap",
    "A digital twin of a Victron Energy site in AWS IoT device shadows.",
    "victron-twin",
)
