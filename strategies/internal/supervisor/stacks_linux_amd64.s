#include "textflag.h"

// func cloneOntoStack(nr, a, b, tls, leader uintptr) int
TEXT ·cloneOntoStack(SB), NOSPLIT, $0-48
	MOVQ	nr+0(FP), AX
	MOVQ	a+8(FP), DI
	MOVQ	b+16(FP), SI
	XORL	DX, DX
	XORL	R10, R10
	MOVQ	tls+24(FP), R8
	MOVQ	leader+32(FP), R12	// the child has the parent's registers
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	MOVQ	AX, ret+40(FP)
	RET
child:
	// Not called directly: the linker would add this stack's depth to the other's.
	LEAQ	·supervise(SB), AX
	TESTQ	R12, R12
	JEQ	call
	LEAQ	·lead(SB), AX
call:
	CALL	AX
	INT	$3
