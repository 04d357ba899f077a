"""TensorBoard, Weights & Biases and Trackio as sinks: the same records, in the form that each of them draws.

A record `{"step": 100, "split": "val", "loss": 2.3}` becomes the point 2.3 of the curve `val/loss` at 100;
fields that are no numbers are left out. A resumed run goes on in its own record, because it has the same id, and
may log a step again. W&B without a key or without a network records offline, in the run's folder, and says in
one line how to send it later: nothing is lost and nothing waits. `WANDB_MODE`, `WANDB_API_KEY` and
`WANDB_BASE_URL` keep their meaning.

Each of the three packages is imported when its sink is opened. Left out: samples, checkpoints, sweeps.
"""

from __future__ import annotations

import contextlib
import io
import json
import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from utils.errors import one_line
from utils.files import jsonable
from utils.tracking import SinkOptions

NO_CURVES = ("step", "split", "timestamp", "whole")
INIT_SECONDS = 10.0  # how long W&B may look for its server before the run is recorded offline
FINISH_SECONDS = 60.0  # and how long it may send at the end


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record under the names of their curves; a whole validation part is a curve of its own.

    >>> scalars({"step": 5, "split": "val", "loss": 2.5, "whole": True, "note": "x"})
    {'val_whole/loss': 2.5}
    """
    split = f"{record.get('split') or 'train'}{'_whole' if record.get('whole') else ''}"
    return {
        f"{split}/{name}": float(value)
        for name, value in record.items()
        if name not in NO_CURVES and isinstance(value, int | float) and not isinstance(value, bool)
    }


class TensorBoardSink:
    """Event files in `folder/tensorboard`: `tensorboard --logdir runs` draws all runs in one plot."""

    def __init__(self, options: SinkOptions):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(log_dir=str(options.folder / "tensorboard"), flush_secs=10)
        if options.config:
            self._writer.add_text("config", f"```\n{json.dumps(jsonable(options.config), indent=1)}\n```")

    def log(self, record: dict[str, Any]) -> None:
        """One point for each number of the record."""
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, int(record.get("step", 0)))

    def close(self) -> None:
        """Write what is buffered and let go of the file."""
        self._writer.close()


class WandbSink:
    """A run of Weights & Biases, sent at once where there is a key and a network, else kept to be sent later."""

    def __init__(self, options: SinkOptions):
        import wandb

        self._wandb, self._options = wandb, options
        asked = options.mode if options.mode != "auto" else os.environ.get("WANDB_MODE", "online")
        if asked == "online" and not wandb_key(wandb.Settings().base_url):
            self._explain("there is no key (WANDB_API_KEY, or `wandb login`)")
            asked = "offline"
        try:
            self._run = self._open(asked)
        except Exception as error:  # the network, by whatever name W&B gives it
            if asked != "online":
                raise
            self._explain(one_line(error))
            self._run = self._open("offline")
        self._run.define_metric(
            "step"
        )  # our own step as the axis: W&B's must never go back, a resumed one does
        self._run.define_metric("*", step_metric="step")

    def _open(self, mode: Any) -> Any:
        settings = self._wandb.Settings(
            silent=True, console="off", init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS
        )
        return self._wandb.init(
            project=self._options.project,
            id=self._options.run,
            name=self._options.run,
            dir=str(self._options.folder),
            config=jsonable(self._options.config),
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=settings,
        )

    def _explain(self, why: str) -> None:
        kept = self._options.folder / "wandb"
        self._options.warn(
            f"wandb: {why}; records stay in {kept}, `wandb sync {kept}/offline-run-*` sends them"
        )

    def log(self, record: dict[str, Any]) -> None:
        """Queue the record; W&B sends it from a process of its own."""
        self._run.log({"step": record.get("step", 0), **scalars(record)})

    def close(self) -> None:
        """Finish the run, and wait at most a minute for what is still to be sent."""
        self._run.finish()


class TrackioSink:
    """A run of Trackio: a local database that `trackio show` draws, or a Space that TRACKIO_SPACE_ID names."""

    def __init__(self, options: SinkOptions):
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):  # it greets at length
            self._run = trackio.init(
                project=options.project,
                name=options.run,
                config=jsonable(options.config),
                resume="allow",
                embed=False,  # in a notebook it would open a dashboard of its own
            )

    def log(self, record: dict[str, Any]) -> None:
        """Queue the record under its own step."""
        self._run.log(scalars(record), step=int(record.get("step", 0)))

    def close(self) -> None:
        """Finish the run."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()


def wandb_key(server: str) -> bool:
    """Whether this machine holds a key for W&B: in the environment, or where `wandb login` put it for `server`.

    Asked before W&B is, because on a terminal W&B would stop and ask the person.
    """
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", server)).hostname or ""
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            logins = netrc.netrc(path)
            if logins.authenticators(host) or "api.wandb.ai" in logins.hosts:  # the server's name before 2026
                return True
    return False
