#include "textflag.h"

// func relayHandler(sig R0, info R1, context R2), in the C calling convention.
TEXT ·relayHandler(SB), NOSPLIT|NOFRAME, $0
	MOVW	·relayFD(SB), R0
	MOVD	$128, R2
	MOVD	$64, R8	// write
	SVC
	RET

TEXT ·relayRestorer(SB), NOSPLIT|NOFRAME, $0
	MOVD	$139, R8	// rt_sigreturn
	SVC
	BRK

// func relayHandlerPC() uintptr
TEXT ·relayHandlerPC(SB), NOSPLIT, $0-8
	MOVD	$·relayHandler(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func relayRestorerPC() uintptr
TEXT ·relayRestorerPC(SB), NOSPLIT, $0-8
	MOVD	$·relayRestorer(SB), R0
	MOVD	R0, ret+0(FP)
	RET
