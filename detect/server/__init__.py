"""The media server: listeners, pairing, signalling, viewers, control routes, telemetry."""
