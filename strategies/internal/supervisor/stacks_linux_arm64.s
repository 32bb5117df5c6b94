#include "textflag.h"

// func cloneOntoStack(nr, a, b, tls, leader uintptr) int
TEXT ·cloneOntoStack(SB), NOSPLIT, $0-48
	MOVD	nr+0(FP), R8
	MOVD	a+8(FP), R0
	MOVD	b+16(FP), R1
	MOVD	ZR, R2
	MOVD	tls+24(FP), R3
	MOVD	ZR, R4
	MOVD	leader+32(FP), R9	// the child has the parent's registers
	SVC
	CBZ	R0, child
	MOVD	R0, ret+40(FP)
	RET
child:
	// Not called directly: the linker would add this stack's depth to the other's.
	MOVD	$·supervise(SB), R0
	CBZ	R9, call
	MOVD	$·lead(SB), R0
call:
	CALL	(R0)
	BRK
