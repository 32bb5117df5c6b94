//go:build linux

#include "textflag.h"

// See entry_amd64.s, which this follows line by line.
//
// func Start()
TEXT ·Start(SB), NOSPLIT|NOFRAME, $0
	MOV	0(X2), X5	// argc
	SLL	$3, X5, X6
	ADD	X2, X6, X6
	ADD	$16, X6	// envp
environment:
	MOV	0(X6), X7
	ADD	$8, X6
	BNE	X7, ZERO, environment
auxiliary:
	MOV	0(X6), X7
	MOV	8(X6), X8
	ADD	$16, X6
	MOV	$31, X5	// AT_EXECFN
	BEQ	X7, X5, compare
	BNE	X7, ZERO, auxiliary	// AT_NULL
	JMP	notOurs
compare:
	MOV	0(X8), X5
	MOV	$0x65732f636f72702f, X7	// "/proc/se"
	BNE	X5, X7, notOurs
	MOV	8(X8), X5
	MOV	$0x2f2e2f64662f666c, X7	// "lf/fd/./"
	BNE	X5, X7, notOurs
	CALL	·prepare(SB)
	MOV	X2, X10
	ADD	$-256, X2	// a Go function may put its arguments above its return address
	MOV	ZERO, X11	// byEntry
	JMP	program<>(SB)
notOurs:
	MOV	ZERO, X5
	MOV	ZERO, X6
	MOV	ZERO, X7
	MOV	ZERO, X8
	JMP	_rt0_riscv64_linux(SB)

TEXT program<>(SB), NOSPLIT|NOFRAME, $0
	MOV	ZERO, g
	MOV	·programFunc(SB), X26
	MOV	0(X26), X5
	CALL	X5
	EBREAK

// func becomeProgram(sp uintptr)
TEXT ·becomeProgram(SB), NOSPLIT|NOFRAME, $0-8
	MOV	sp+0(FP), X10
	ADD	$-256, X10, X2
	MOV	$1, X11	// byFirstInit
	JMP	program<>(SB)

// It changes X5 only.
//
// func prepare()
TEXT ·prepare(SB), NOSPLIT|NOFRAME, $0
	MOV	$system<>(SB), X5
	MOV	X5, ·systemCode(SB)
	MOV	$cloneOnto<>(SB), X5
	MOV	X5, ·cloneCode(SB)
	MOV	$endThread<>(SB), X5
	MOV	X5, ·endThreadCode(SB)
	RET

TEXT system<>(SB), NOSPLIT|NOFRAME, $0
	MOV	X10, X17
	MOV	X11, X10
	MOV	X12, X11
	MOV	X13, X12
	MOV	X14, X13
	MOV	X15, X14
	MOV	X16, X15
	ECALL
	RET

TEXT cloneOnto<>(SB), NOSPLIT|NOFRAME, $0
	MOV	X10, X17
	MOV	X13, X9	// the child has the parent's registers
	MOV	X11, X10
	MOV	X12, X11
	MOV	ZERO, X12
	MOV	ZERO, X13
	MOV	ZERO, X14
	ECALL
	BEQ	X10, ZERO, child
	RET
child:
	MOV	ZERO, g
	MOV	X9, X26
	MOV	0(X26), X5
	CALL	X5
	EBREAK

TEXT endThread<>(SB), NOSPLIT|NOFRAME, $0
	MOV	$93, X17	// exit
	MOV	ZERO, X10
	ECALL
	EBREAK
