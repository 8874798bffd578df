"""A log in memory, with a clock and faults that a test owns. The simulation and the test kit stand on it.

`disk` is what survives, made of `journal`s. `log` is one client of it: `client` its life, `writer` its writes, `watch`
its waiting, `promoter` its part in what waits for its time, `member` its part in a `group`, whose shares `assignment`
reckons. `clock` is virtual time, `faults` what may go wrong.
"""

from headrace.triggers.brokers.memory.clock import VirtualClock
from headrace.triggers.brokers.memory.disk import Disk
from headrace.triggers.brokers.memory.faults import Crash, Faults, Step
from headrace.triggers.brokers.memory.log import MemoryLog

__all__ = ["Crash", "Disk", "Faults", "MemoryLog", "Step", "VirtualClock"]
