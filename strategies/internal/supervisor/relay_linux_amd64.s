#include "textflag.h"

// func relayHandler(sig DI, info SI, context DX), in the C calling convention.
TEXT ·relayHandler(SB), NOSPLIT|NOFRAME, $0
	MOVL	·relayFD(SB), DI
	MOVL	$128, DX
	MOVL	$1, AX	// write
	SYSCALL
	RET

TEXT ·relayRestorer(SB), NOSPLIT|NOFRAME, $0
	MOVL	$15, AX	// rt_sigreturn
	SYSCALL
	INT	$3

// func relayHandlerPC() uintptr
TEXT ·relayHandlerPC(SB), NOSPLIT, $0-8
	LEAQ	·relayHandler(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func relayRestorerPC() uintptr
TEXT ·relayRestorerPC(SB), NOSPLIT, $0-8
	LEAQ	·relayRestorer(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
