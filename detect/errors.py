"""Everything this package raises on purpose.

::

    DetectError
    ├── ConfigError      a setting is out of range or contradicts another
    ├── ModelError       a model file: missing, checksum, signature, family
    ├── EngineError      the inference runtime: provider, session, run
    ├── MediaError       a picture or video that cannot be read or written
    ├── TransportError   signalling, ICE, a connection that is gone
    │   └── PairingError     a pairing or resume token that is not (or no longer) good
    ├── ProtocolError    a message that breaks docs/protocol.md
    └── ServerError      the media server cannot start or cannot be reached

A message says what was expected, what came, and what to do. Programming errors are
``ValueError`` and ``TypeError``.
"""


class DetectError(Exception):
    """Base of every error raised on purpose; its text is fit for the user."""


class ConfigError(DetectError):
    """A setting is out of range or contradicts another."""


class ModelError(DetectError):
    """A model file is missing, damaged, or not one this package can decode."""


class EngineError(DetectError):
    """The inference runtime refused a model or failed while running it."""


class MediaError(DetectError):
    """A picture or video cannot be read or written."""


class TransportError(DetectError):
    """Signalling or media transport failed."""


class PairingError(TransportError):
    """A pairing or resume token is unknown, used, expired or revoked."""


class ProtocolError(DetectError):
    """A message does not follow docs/protocol.md."""


class ServerError(DetectError):
    """The media server cannot start, or cannot be reached."""
