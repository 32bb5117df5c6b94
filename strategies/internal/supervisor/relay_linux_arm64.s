#include "textflag.h"

// func relayHandler(sig R0, info R1, context R2), in the C calling convention.
TEXT ·relayHandler(SB), NOSPLIT|NOFRAME, $0
	MOVD	R1, R19
	MOVD	$1, R0	// CLOCK_MONOTONIC
	ADD	$112, R1	// entry.ReceivedAt
	MOVD	$113, R8	// clock_gettime
	SVC
	MOVD	R19, R1
	MOVW	·relayFD(SB), R0
	MOVD	$128, R2
	MOVD	$64, R8	// write
	SVC
	RET

// func relayOthersHandler(sig R0, info R1, context R2), in the C calling convention.
TEXT ·relayOthersHandler(SB), NOSPLIT|NOFRAME, $0
	MOVW	8(R1), R3	// si_code
	CMPW	$0, R3
	BGT	own
	MOVW	16(R1), R3	// si_pid
	MOVW	·relayPID(SB), R4
	CMPW	R4, R3
	BEQ	own
	JMP	·relayHandler(SB)
own:
	MOVD	$·ownHandlers(SB), R3
	MOVW	R0, R4
	MOVD	(R3)(R4<<3), R3
	CMP	$1, R3	// SIG_DFL, SIG_IGN
	BLS	done
	JMP	(R3)
done:
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

// func relayOthersHandlerPC() uintptr
TEXT ·relayOthersHandlerPC(SB), NOSPLIT, $0-8
	MOVD	$·relayOthersHandler(SB), R0
	MOVD	R0, ret+0(FP)
	RET
