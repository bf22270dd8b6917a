"""What both programs are told of how to run."""

from __future__ import annotations

from dataclasses import dataclass

from .choices import PROGRESS
from .option import option


@dataclass(frozen=True)
class CallOptions:
    """What both programs are told of how to run."""

    gpu: int | None = option(
        None, int, "-g", "--gpu", metavar="N", on_resume="free", help="which NVIDIA GPU (default: 0)"
    )
    device: str = option(
        *("auto", str, "--device"),
        keyword="device",
        metavar="DEVICE",
        on_resume="free",
        help="auto, cpu, cuda, cuda:N or mps; a training by several: cuda:0,1 or cpu,cpu (default: auto)",
    )
    progress: str = option(
        *("auto", str, "--progress"),
        choices=PROGRESS,
        on_resume="free",
        help="what to show meanwhile (default: auto)",
    )
    stop_with_input: bool = option(
        *(False, bool, "--stop-with-input"),
        on_resume="free",
        help="save and end when standard input is closed: for programs that start this one",
    )
