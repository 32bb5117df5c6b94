#include "textflag.h"

// func relayHandler(sig DI, info SI, context DX), in the C calling convention.
TEXT ·relayHandler(SB), NOSPLIT|NOFRAME, $0
	MOVQ	SI, R12
	MOVL	$1, DI	// CLOCK_MONOTONIC
	ADDQ	$112, SI	// entry.ReceivedAt
	MOVL	$228, AX	// clock_gettime
	SYSCALL
	MOVQ	R12, SI
	MOVL	·relayFD(SB), DI
	MOVL	$128, DX
	MOVL	$1, AX	// write
	SYSCALL
	RET

// func relayOthersHandler(sig DI, info SI, context DX), in the C calling convention.
TEXT ·relayOthersHandler(SB), NOSPLIT|NOFRAME, $0
	CMPL	8(SI), $0	// si_code
	JGT	own
	MOVL	16(SI), AX	// si_pid
	CMPL	AX, ·relayPID(SB)
	JEQ	own
	JMP	·relayHandler(SB)
own:
	LEAQ	·ownHandlers(SB), CX
	MOVLQSX	DI, AX
	MOVQ	(CX)(AX*8), AX
	CMPQ	AX, $1	// SIG_DFL, SIG_IGN
	JLS	done
	JMP	AX
done:
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

// func relayOthersHandlerPC() uintptr
TEXT ·relayOthersHandlerPC(SB), NOSPLIT, $0-8
	LEAQ	·relayOthersHandler(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
