// signals.h - TERM, INT, USR1, USR2 and HUP ask a run to save and end; the trainer looks at step
// boundaries. The same signal twice within one second counts once. After a real second TERM or
// INT the process ends at once with exit 75, saying the newest durable step.

#ifndef PAWL_SIGNALS_H
#define PAWL_SIGNALS_H

#include <stdint.h>

// Installs the handlers; SIGPIPE and SIGXFSZ are ignored. Call once, before threads start.
void pawl_signals_install(void);
// 0, or the number of the signal that asked first.
int pawl_signals_pending(void);
const char *pawl_signal_name(int number);  // "TERM"
// What a second signal's last words name. async-signal-safe.
void pawl_signals_durable(uint64_t step);

#endif
