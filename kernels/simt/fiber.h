// fiber.h - stacks that take turns on one thread.
//
//     fiber_open(&fiber, stack, bytes, entry);   // entry runs at the first switch; never returns
//     fiber_switch(&home, &fiber);               // comes back when somebody switches to home
//
// AddressSanitizer is told of each switch where it is there.

#ifndef PAWL_SIMT_FIBER_H
#define PAWL_SIMT_FIBER_H

#include <stddef.h>

#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(PAWL_SIMT_UCONTEXT)
#define PAWL_FIBER_ASSEMBLY
typedef void *fiber_state;  // its stack pointer; the registers lie there
#else
#include <ucontext.h>
typedef ucontext_t fiber_state;
#endif

struct fiber {
    fiber_state state;
    const void *stack;  // its lowest address
    size_t bytes;
    void *fake;         // AddressSanitizer's
};

void fiber_open(struct fiber *fiber, void *stack, size_t bytes, void (*entry)(void));
void fiber_switch(struct fiber *from, struct fiber *to);
// The first thing that entry does.
void fiber_arrived(struct fiber *self);

#endif
