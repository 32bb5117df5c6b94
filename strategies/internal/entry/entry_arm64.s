//go:build linux

#include "textflag.h"

// See entry_amd64.s, which this follows line by line.
//
// func Start()
TEXT ·Start(SB), NOSPLIT|NOFRAME, $0
	MOVD	0(RSP), R9	// argc
	ADD	$16, RSP, R10
	ADD	R9<<3, R10	// envp
environment:
	MOVD.P	8(R10), R11
	CBNZ	R11, environment
auxiliary:
	MOVD	0(R10), R11
	MOVD	8(R10), R12
	ADD	$16, R10
	CMP	$31, R11	// AT_EXECFN
	BEQ	compare
	CBNZ	R11, auxiliary	// AT_NULL
	B	notOurs
compare:
	MOVD	0(R12), R9
	MOVD	$0x65732f636f72702f, R11	// "/proc/se"
	CMP	R11, R9
	BNE	notOurs
	MOVD	8(R12), R9
	MOVD	$0x2f2e2f64662f666c, R11	// "lf/fd/./"
	CMP	R11, R9
	BNE	notOurs
	BL	·prepare(SB)
	MOVD	RSP, R0
	SUB	$256, RSP, R1	// a Go function may put its arguments above its return address
	MOVD	R1, RSP
	MOVD	$0, R1	// byEntry
	B	program<>(SB)
notOurs:
	MOVD	ZR, R9
	MOVD	ZR, R10
	MOVD	ZR, R11
	MOVD	ZR, R12
	B	_rt0_arm64_linux(SB)

TEXT program<>(SB), NOSPLIT|NOFRAME, $0
	MOVD	ZR, g
	MOVD	·programFunc(SB), R26
	MOVD	(R26), R27
	CALL	(R27)
	BRK

// func becomeProgram(sp uintptr)
TEXT ·becomeProgram(SB), NOSPLIT|NOFRAME, $0-8
	MOVD	sp+0(FP), R0
	SUB	$256, R0, R1
	MOVD	R1, RSP
	MOVD	$1, R1	// byFirstInit
	B	program<>(SB)

// It changes R9 only.
//
// func prepare()
TEXT ·prepare(SB), NOSPLIT|NOFRAME, $0
	MOVD	$system<>(SB), R9
	MOVD	R9, ·systemCode(SB)
	MOVD	$cloneOnto<>(SB), R9
	MOVD	R9, ·cloneCode(SB)
	MOVD	$endThread<>(SB), R9
	MOVD	R9, ·endThreadCode(SB)
	RET

TEXT system<>(SB), NOSPLIT|NOFRAME, $0
	MOVD	R0, R8
	MOVD	R1, R0
	MOVD	R2, R1
	MOVD	R3, R2
	MOVD	R4, R3
	MOVD	R5, R4
	MOVD	R6, R5
	SVC
	RET

TEXT cloneOnto<>(SB), NOSPLIT|NOFRAME, $0
	MOVD	R0, R8
	MOVD	R3, R9	// the child has the parent's registers
	MOVD	R1, R0
	MOVD	R2, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	SVC
	CBZ	R0, child
	RET
child:
	MOVD	ZR, g
	MOVD	R9, R26
	MOVD	(R26), R27
	CALL	(R27)
	BRK

TEXT endThread<>(SB), NOSPLIT|NOFRAME, $0
	MOVD	$93, R8	// exit
	MOVD	ZR, R0
	SVC
	BRK
