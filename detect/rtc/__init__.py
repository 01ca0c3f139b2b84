"""A phone's connection: WebRTC session, receive path, clocks."""
