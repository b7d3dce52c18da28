// fiber.cc - see fiber.h. x86-64 and aarch64 save what their calling conventions say a function
// keeps (System V psABI; AAPCS64) and no more: twenty times faster than swapcontext, which also
// asks the kernel for the signal mask.

#include "kernels/simt/fiber.h"

#include <stdint.h>
#include <string.h>

// Weak: there with AddressSanitizer only (sanitizer/common_interface_defs.h).
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void **fake, const void *stack,
                                                          size_t bytes);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void *fake, const void **old_stack,
                                                           size_t *old_bytes);
}

static struct fiber *left;  // by the last switch; guarded as all of the engine

void fiber_arrived(struct fiber *self)
{
    // Also how the bounds of the stack that everything started on become known.
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(self->fake, &left->stack, &left->bytes);
}

#ifdef PAWL_FIBER_ASSEMBLY

extern "C" void pawl_fiber_jump(void **from, void *to);

#if defined(__x86_64__)
enum { SAVED = 6, RESUME = 6, SPARE = 2 };  // registers; where the address lies; words above it
__asm__(".text\n.hidden pawl_fiber_jump\n.type pawl_fiber_jump, @function\n"
        ".globl pawl_fiber_jump\npawl_fiber_jump:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
        ".size pawl_fiber_jump, . - pawl_fiber_jump\n");
#else
enum { SAVED = 20, RESUME = 11, SPARE = 0 };
__asm__(".text\n.hidden pawl_fiber_jump\n.type pawl_fiber_jump, %function\n"
        ".globl pawl_fiber_jump\npawl_fiber_jump:\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\n"
        "stp x25, x26, [sp, #48]\nstp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\n"
        "stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
        "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
        "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\n"
        "ldp x25, x26, [sp, #48]\nldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\n"
        "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\nret\n"
        ".size pawl_fiber_jump, . - pawl_fiber_jump\n");
#endif

void fiber_open(struct fiber *fiber, void *stack, size_t bytes, void (*entry)(void))
{
    const uintptr_t end = ((uintptr_t)stack + bytes) & ~(uintptr_t)15;
    // Registers as the jump pops them, then the address it returns to, then, as the caller's,
    // what keeps the stack aligned as at the start of a function.
    void **top = (void **)end - SAVED - SPARE;

    memset(top, 0, (SAVED + SPARE) * sizeof(*top));
    top[RESUME] = (void *)(uintptr_t)entry;
    *fiber = { top, stack, bytes, NULL };
}

static void jump(struct fiber *from, struct fiber *to) { pawl_fiber_jump(&from->state, to->state); }

#else

void fiber_open(struct fiber *fiber, void *stack, size_t bytes, void (*entry)(void))
{
    getcontext(&fiber->state);
    fiber->state.uc_stack.ss_sp = stack;
    fiber->state.uc_stack.ss_size = bytes;
    fiber->state.uc_link = NULL;
    makecontext(&fiber->state, entry, 0);
    fiber->stack = stack;
    fiber->bytes = bytes;
    fiber->fake = NULL;
}

static void jump(struct fiber *from, struct fiber *to) { swapcontext(&from->state, &to->state); }

#endif

void fiber_switch(struct fiber *from, struct fiber *to)
{
    left = from;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&from->fake, to->stack, to->bytes);
    jump(from, to);
    fiber_arrived(from);
}
