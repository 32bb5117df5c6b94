#include "textflag.h"

// As in golang.org/x/sys/unix: Go code cannot take the address of a C function, so it
// is told that of a jump to it.

TEXT libc_proc_info_trampoline<>(SB),NOSPLIT,$0-0
	JMP	libc_proc_info(SB)

GLOBL	·libc_proc_info_trampoline_addr(SB), RODATA, $8
DATA	·libc_proc_info_trampoline_addr(SB)/8, $libc_proc_info_trampoline<>(SB)
