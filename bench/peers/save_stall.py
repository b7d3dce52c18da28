#!/usr/bin/env python3
"""What a save costs a PyTorch training loop: the peer of `pawl bench save`, on the same state size.

Windows of K steps alternate with and without a save (AB, BA, ...). A save window goes on until the
checkpoint is durable: the library said done and every file and directory was fsynced, beside the
steps where the mode is asynchronous. The figures are defined as pawl's:

    call    how long the save call kept the loop, plus the wait for staging before the update
    extra   (save window - its steps * mean step of the plain windows beside it) / median step
    worst   the longest step of a save window / median step

One JSON line per mode. Needs torch; the modes: torch.save (stands still), dcp (torch.distributed.
checkpoint, stands still), dcp.async (its thread writes), dcp.staged (its thread copies, too).
"""
import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
import warnings

warnings.filterwarnings("ignore")
import torch  # noqa: E402

MODES = ["torch.save", "dcp", "dcp.async", "dcp.staged"]


def network(state_mb, width, batch):
    """Layers of width x 4 width and back whose weights and two moments are about state_mb."""
    blocks = max(1, round(state_mb * 1e6 / 12 / (8 * width * width)))
    layers = []
    for _ in range(blocks):
        layers += [torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width)]
    model = torch.nn.Sequential(*layers)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4), torch.randn(batch, width)


def make_durable(path):
    for root, _, files in os.walk(path):
        for name in [os.path.join(root, f) for f in files] + [root]:
            fd = os.open(name, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


class Saver:
    def __init__(self, mode):
        self.mode, self.options = mode, {}
        if mode.startswith("dcp"):
            import torch.distributed.checkpoint as dcp
            self.dcp = dcp
        if mode == "dcp.staged":
            from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
            self.options["async_stager"] = DefaultStager(StagingOptions(
                use_pinned_memory=False, use_shared_memory=False, use_async_staging=True,
                use_non_blocking_copy=False))

    def save(self, path, model, optimizer):
        """(a future of the staging or None, a future of the upload or None)"""
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        os.makedirs(path)
        if self.mode == "torch.save":
            torch.save(state, os.path.join(path, "state.pt"))
        elif self.mode == "dcp":
            self.dcp.save(state, checkpoint_id=path)
        else:
            done = self.dcp.async_save(state, checkpoint_id=path, **self.options)
            if hasattr(done, "upload_completion"):
                return done.staging_completion, done.upload_completion
            return None, done
        return None, None


class Loop:
    def __init__(self, options, mode):
        self.model, self.optimizer, self.x = network(options.state_mb, options.width, options.batch)
        self.saver, self.root = Saver(mode), tempfile.mkdtemp(prefix="save_stall.", dir=options.dir)
        self.steps, self.saves = options.steps, 0

    def step(self, staged=None):
        """-> seconds of the step, of which waited for staging"""
        start, waited = time.perf_counter(), 0.0
        self.model(self.x).square().mean().backward()
        if staged is not None:
            before = time.perf_counter()
            staged.result()
            waited = time.perf_counter() - before
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start, waited

    def plain(self):
        return [self.step()[0] for _ in range(self.steps)]

    def save(self):
        """-> (seconds of each step, seconds the call kept the loop, seconds until durable)"""
        path, durable, end = os.path.join(self.root, str(self.saves)), threading.Event(), []
        self.saves += 1
        start = time.perf_counter()
        staged, uploaded = self.saver.save(path, self.model, self.optimizer)

        def finish():
            if uploaded is not None:
                uploaded.result()
            make_durable(path)
            end.append(time.perf_counter() - start)
            durable.set()

        if uploaded is None:
            finish()
        else:
            threading.Thread(target=finish, daemon=True).start()
        call, times = time.perf_counter() - start, []
        while len(times) < self.steps or not durable.is_set():
            took, waited = self.step(staged if not times else None)
            times.append(took + (call if not times else 0.0))
            call += waited if len(times) == 1 else 0.0
        shutil.rmtree(path)
        return times, call, end[0]


def measure(options, mode):
    loop = Loop(options, mode)
    try:
        for _ in range(3):
            loop.step()
        plain, saves = [], []
        for i in range(options.windows + 1):
            for kind in ("save", "plain") if i % 2 else ("plain", "save"):
                (plain if kind == "plain" else saves).append(
                    loop.plain() if kind == "plain" else loop.save())
    finally:
        shutil.rmtree(loop.root, ignore_errors=True)
    median = statistics.median(t for window in plain for t in window)
    extra = []
    for i in range(1, options.windows + 1):
        other = plain[i - 1] if i % 2 or i == options.windows else plain[i + 1]
        mean = statistics.mean(plain[i] + other)
        extra.append((sum(saves[i][0]) - len(saves[i][0]) * mean) / median)
    state = sum(p.numel() for p in loop.model.parameters()) * 12
    steady = statistics.median(s[2] for s in saves[1:])
    return {
        "mode": mode, "state_bytes": state, "step_ms": median * 1e3,
        "call_ms": statistics.median(s[1] for s in saves[1:]) * 1e3,
        "extra_steps": statistics.mean(extra),
        "extra_sd": statistics.stdev(extra) if len(extra) > 1 else 0.0,
        "worst_step": max(max(s[0]) for s in saves[1:]) / median,
        "durable_bytes_per_s": state / steady, "first_over_steady": saves[0][2] / steady,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state-mb", type=float, default=40)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="per window")
    parser.add_argument("--windows", type=int, default=6, help="pairs")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--modes", default=",".join(MODES))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for mode in options.modes.split(","):
        print(json.dumps(measure(options, mode)), flush=True)


if __name__ == "__main__":
    main()
