"""The error tree, named by what the caller does next.

::

    JobqueueError
    ├── Permanent              don't try again: bury the job, tell the person
    │   ├── InvalidInput       mend the request or payload
    │   ├── RejectedFile       upload another file
    │   ├── LimitExceeded      send less, or raise the named limit
    │   ├── RefusedRequest     a provider said no for good: mend the credentials or the request
    │   ├── Expired            the caller's own deadline passed before a worker was free
    │   ├── UnknownFunction    deploy a worker that knows this job type, then replay
    │   └── UnreadablePayload  enqueue with this project's codec
    ├── Transient              try again later
    │   ├── Unavailable        a dependency is down or slow
    │   ├── ProviderBusy       a provider asked for patience; may carry its Retry-After
    │   └── SandboxCrashed     a child process died without an answer
    ├── NotFound               the thing named does not exist (for this tenant)
    ├── Conflict               the thing is in a state that forbids this
    ├── Denied                 authenticate, or ask for the right
    ├── LeaseLost              stop: another worker owns this job now
    ├── JobFailed              the job you waited for failed; its error is inside
    └── ConfigError            the operator mends a setting, then starts again
"""

from __future__ import annotations


class JobqueueError(Exception):
    """Base of everything this project raises on purpose.

    ``str(error)`` is one sentence for people: what happened, to which file or setting, what to do.
    """


class Permanent(JobqueueError):
    """No later attempt can succeed: the job is buried at once."""


class InvalidInput(Permanent):
    """The request or payload is malformed."""


class RejectedFile(Permanent):
    """The file's content is not acceptable: empty, encrypted, corrupt, of a type that is not on the list."""


class LimitExceeded(Permanent):
    """A size, page, memory or time limit was passed; the message names the limit."""


class RefusedRequest(Permanent):
    """A provider refused for good (bad credentials, content policy, unknown model)."""


class Expired(Permanent):
    """The job's own expiry passed before a worker could start it."""


class UnknownFunction(Permanent):
    """No worker of this queue has known the job's function for as long as the parking bound."""


class UnreadablePayload(Permanent):
    """The payload in Redis is not in this project's codec; a pickle, for example, is never opened."""


class Transient(JobqueueError):
    """A later attempt may succeed: the job is retried by its policy."""


class Unavailable(Transient):
    """A dependency (Redis, database, storage, scanner) can't be reached."""


class ProviderBusy(Transient):
    """A provider is rate limiting or overloaded.

    Args:
        message: what happened, for people.
        retry_after_s: the provider's own wish in seconds, where it gave one.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SandboxCrashed(Transient):
    """A sandbox child died (a segfault, a kill) before it answered."""


class NotFound(JobqueueError):
    """The named thing does not exist, or not for this tenant."""


class Conflict(JobqueueError):
    """The thing exists but is in a state that forbids the request."""


class Denied(JobqueueError):
    """The caller is not known, or is not allowed to do this."""


class LeaseLost(JobqueueError):
    """This worker no longer owns the job; what it does from here on is not recorded."""


class JobFailed(JobqueueError):
    """A job failed with an error of a class that this process does not rebuild.

    Attributes:
        error_class: dotted name of the original exception class.
        message: its message.
        traceback: its formatted traceback, or ``""``.
    """

    def __init__(self, error_class: str, message: str = "", traceback: str = "") -> None:
        super().__init__(f"{error_class}: {message}" if message else error_class)
        self.error_class = error_class
        self.message = message
        self.traceback = traceback


class ConfigError(JobqueueError):
    """A setting or configuration file is wrong; the message names file, key and reason."""
