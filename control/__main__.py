"""The command line: `python3 -m control VERB`, as the Makefile calls it."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from control.console import Console, open_log
from control.errors import ControlError, Interrupted
from control.exclusive import exclusive
from control.project import Project
from control.runner import HostRunner
from control.verbs import Verbs

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("quick", "platform", "roles")
# A look leaves nothing behind, least of all passwords.
LOOKS = ("status", "logs", "passwords", "trust", "models", "predict")

# verb, one sentence, whether it changes the deployment (one such run at a time, with a log)
VERBS = (
    ("up", "deploy everything, to the first prediction; run again, it does what is missing", True),
    ("test", "run the tests; LAYER=quick, roles or platform runs one layer alone", False),
    ("status", "show machines, services and the model in production", False),
    ("logs", "print the last lines that SERVICE=name logged", False),
    ("passwords", "print address, user and password of every service with a login", False),
    ("trust", "tell how browsers and clients come to trust the pages' certificates", False),
    ("pipeline", "run the pipeline now: clear, load, train, search, promote", False),
    ("models", "list the versions of the model, their figures, and which is in production", False),
    ("promote", "put VERSION=n into production, if it passes the gate", False),
    ("rollback", "put the version that was in production before there again", False),
    ("predict", "send the example to the inference API and print the answer", False),
    ("scale", "share the inference budget among REPLICAS=1..16 replicas", True),
    ("benchmark", "measure how the inference API serves; takes three quarters of an hour", False),
    ("loadtest", "have USERS=n clients ask the inference API for DURATION=seconds", True),
    ("study", "carry out the scaling study, or go on with it; FORM=short only tries it", True),
    ("down", "shut the machines down; their data stays, and `up` starts them again", True),
    ("destroy", "remove the machines, their data and the secrets; CONFIRM=yes does not ask", True),
    ("lock", "resolve the Python requirements of every part anew", False),
    ("docs", "write the roles' README files anew", False),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a verb and give the exit code."""
    options = parse(arguments)
    _heed_signals()
    os.umask(0o022)
    project = Project(ROOT)
    try:
        with ExitStack() as stack:
            if next(changes for name, _, changes in VERBS if name == options.verb):
                stack.enter_context(exclusive(project, options.verb))
            log = None if options.verb in LOOKS else open_log(project.logs, options.verb)
            console = Console(log)
            stack.callback(console.close)
            runner = HostRunner(console)
            _heed_signals(runner)
            return _carry_out(options, Verbs(project, runner, console), console)
    except ControlError as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"\n{error.filename} is another user's: run it with sudo.", file=sys.stderr)
        return 1


def _carry_out(options: argparse.Namespace, verbs: Verbs, console: Console) -> int:
    """Carry out a verb; its failure is written to its log too."""
    actions: dict[str, Callable[[], bool | None]] = {
        "up": verbs.up,
        "test": lambda: verbs.test(getattr(options, "layer", None)),
        "status": verbs.status,
        "logs": lambda: verbs.logs(options.service),
        "passwords": verbs.passwords,
        "trust": verbs.trust,
        "pipeline": verbs.pipeline,
        "models": verbs.models,
        "promote": lambda: verbs.promote(options.version),
        "rollback": verbs.rollback,
        "predict": verbs.predict,
        "scale": lambda: verbs.scale(options.replicas),
        "benchmark": verbs.benchmark,
        "loadtest": lambda: verbs.loadtest(options.users, options.duration),
        "study": lambda: verbs.study(short=options.form == "short"),
        "down": verbs.down,
        "destroy": lambda: verbs.destroy(confirmed=options.yes),
        "lock": verbs.lock,
        "docs": verbs.docs,
    }
    try:
        well = actions[options.verb]()
    except Interrupted as interrupted:
        console.say(f"\nInterrupted. Run `make {options.verb}` again: it goes on from here.")
        return interrupted.exit_code
    except ControlError as failure:
        console.record(str(failure))
        if console.log_path:
            raise ControlError(f"{failure}\nThe log of this run: {console.log_path}") from failure
        raise
    return 1 if well is False else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make", usage="make VERB", add_help=False)
    lines = "\n".join(f"  {name:<10} {sentence}" for name, sentence, _ in VERBS)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, sentence, _ in VERBS:
        verb = verbs.add_parser(name, help=sentence)
        if name == "test":
            verb.add_argument("--layer", choices=LAYERS)
        elif name == "logs":
            verb.add_argument("--service", required=True)
        elif name == "scale":
            verb.add_argument("--replicas", required=True)
        elif name == "loadtest":
            verb.add_argument("--users", required=True)
            verb.add_argument("--duration", required=True)
        elif name == "study":
            verb.add_argument("--form", choices=("whole", "short"), default="whole")
        elif name == "promote":
            verb.add_argument("--version", required=True)
        elif name == "destroy":
            verb.add_argument("--yes", action="store_true")
    verbs.add_parser("help", help="list the verbs")
    options = parser.parse_args(arguments)
    if options.verb in (None, "help"):
        print(f"make VERB, where VERB is\n{lines}\n  {'help':<10} list the verbs")
        sys.exit(0)
    return options


def _heed_signals(runner: HostRunner | None = None) -> None:
    """Turn the signals that ask for an end into an exception.

    Args:
        runner: told as well. Where Python runs a callback of its own, such as those around a fork,
            it drops the exception; the runner then raises it at its next look.
    """

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        if runner:
            runner.interrupt()
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


if __name__ == "__main__":
    sys.exit(main())
