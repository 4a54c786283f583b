/* Vector table and reset handler for the emulated Cortex-M boards; output and exit by semihosting.
 * No function of the library but exit is used, so that an image's size tells what the program took.
 */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
extern int main(void);

void reset_handler(void)
{
    volatile uint32_t *cpacr = (volatile uint32_t *)0xE000ED88u, *to;
    const uint32_t *from = data_load;
    *cpacr |= 0xFu << 20; /* the coprocessors 10 and 11 are the FPU */
#ifdef TRAP_UNALIGNED
    *(volatile uint32_t *)0xE000ED14u |= 1u << 3; /* CCR.UNALIGN_TRP */
#endif
    __asm__ volatile("dsb\n isb");
    for (to = data_start; to < data_end;)
        *to++ = *from++;
    for (to = bss_start; to < bss_end;)
        *to++ = 0;
    initialise_monitor_handles();
    exit(main());
}

/* A fault ends the emulator with exit code 1 instead of hanging it: SYS_EXIT, internal error. */
static void fault_handler(void)
{
    __asm__ volatile("movs r0, #0x18\n ldr r1, =0x20024\n bkpt 0xAB");
    for (;;) {
    }
}

typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)(void *)stack_top, reset_handler, fault_handler, fault_handler, fault_handler,
    fault_handler, fault_handler, 0, 0, 0, 0, fault_handler, fault_handler, 0, fault_handler,
    fault_handler,
};
