"""This machine, and what it makes of models that are not here yet: for the commands that plan, and that look at the hub.

What looks at devices and plans is imported when it is called: help is quick.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publican.hardware.machine import Machine
    from publican.settings import Settings
    from publican.store.pull.appraise import Judge


def this_machine() -> Machine:
    """What there is now, with the cards that CUDA_VISIBLE_DEVICES leaves. Blocks for milliseconds, for
    some seconds where cards must wake up, and for a minute where their driver hangs."""
    from publican.hardware.machine import read_this_machine

    return read_this_machine(os.environ.get("CUDA_VISIBLE_DEVICES"))


def judge(values: Settings) -> Judge:
    """What runs here and fits, for the context and the people that `values` ask for."""
    from publican.host.judge import make_judge

    return make_judge(this_machine(), values.ctx, values.users)
