// stream.h - an ordered queue of device work that remembers its first failure.
//
// Work is queued, not run. Queuing cannot fail to the caller's face: the stream keeps the first
// failure and skips what follows, so code that queues work reads straight through and asks
// once, where it waits (pawl_stream_wait, device.h). On the host device work runs at once.
//
// Threads: a stream is used by one thread at a time.

#ifndef PAWL_STREAM_H
#define PAWL_STREAM_H

struct pawl_device;

struct pawl_stream {
    struct pawl_device *device;
    void *queue;         // the backend's own queue; NULL where work runs at once
    int fault;           // 0, or the backend's number for the first failure; where work is queued
                         // it stays 0: only pawl_stream_wait knows
    const char *reason;  // static words for that failure; NULL while fault is 0
};

#endif
