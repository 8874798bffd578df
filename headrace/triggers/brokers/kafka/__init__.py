"""Apache Kafka as a broker, through aiokafka.

`log` is the store as the runtime sees it; `cluster` asks the cluster questions, `topics`, `groups` and `reader` know
which; `publisher` writes, `member` and `intake` read as a group, `committer` keeps the group's marks. `settings` and
`security` say how a cluster is reached, `login` and `probe` why it was not. `inside` is the only place that touches
what aiokafka does not publish.
"""

from headrace.triggers.brokers.kafka.log import KafkaLog
from headrace.triggers.brokers.kafka.settings import KafkaSettings, settings_of

__all__ = ["KafkaLog", "KafkaSettings", "settings_of"]
