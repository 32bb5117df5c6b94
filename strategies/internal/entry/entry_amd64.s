//go:build linux

#include "textflag.h"

// The ELF entry. A program linked with -ldflags=-E=…/entry.Start begins here, with
// the stack that execve(2) made: argc, argv, 0, envp, 0, and the auxiliary vector. If the
// file was executed by the path that only package supervisor gives, this process
// becomes a helper and never returns. Otherwise it goes on to Go's own entry, with
// the registers that it may look at, the stack and all else as the kernel left them.
//
// func Start()
TEXT ·Start(SB), NOSPLIT|NOFRAME, $0
	MOVQ	0(SP), AX	// argc
	LEAQ	16(SP)(AX*8), AX	// envp, behind argv and its 0
environment:
	MOVQ	(AX), CX
	ADDQ	$8, AX
	TESTQ	CX, CX
	JNE	environment
auxiliary:
	MOVQ	(AX), CX
	MOVQ	8(AX), BX
	ADDQ	$16, AX
	CMPQ	CX, $31	// AT_EXECFN
	JEQ	compare
	TESTQ	CX, CX	// AT_NULL
	JNE	auxiliary
	JMP	notOurs
compare:
	// Eight bytes can be read: the kernel has put as many zeros behind the path. Eight
	// more only where the first were no end.
	MOVQ	$0x65732f636f72702f, CX	// "/proc/se"
	CMPQ	CX, (BX)
	JNE	notOurs
	MOVQ	$0x2f2e2f64662f666c, CX	// "lf/fd/./"
	CMPQ	CX, 8(BX)
	JNE	notOurs
	CALL	·prepare(SB)
	MOVQ	SP, AX
	SUBQ	$256, SP	// a Go function may put its arguments above its return address, which is where argc is
	MOVQ	$0, BX	// byEntry
	JMP	program<>(SB)
notOurs:
	XORL	AX, AX
	XORL	BX, BX
	XORL	CX, CX
	JMP	_rt0_amd64_linux(SB)

// program calls program, which does not return, with what Go's own calling convention
// keeps constant: X15 is zero. R14, the goroutine, is nobody's.
TEXT program<>(SB), NOSPLIT|NOFRAME, $0
	XORL	R14, R14
	PXOR	X15, X15
	MOVQ	·programFunc(SB), DX
	CALL	(DX)
	INT	$3

// becomeProgram calls program on the stack that the kernel made, of which everything
// below sp is free once Go's runtime is no more.
//
// func becomeProgram(sp uintptr)
TEXT ·becomeProgram(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ	sp+0(FP), AX
	LEAQ	-256(AX), SP
	MOVQ	$1, BX	// byFirstInit
	JMP	program<>(SB)

// prepare stores where the two functions are that Go code calls by a word in memory,
// in the convention of Go code for Go code: there is no ABI0 wrapper on that way,
// which would load the goroutine from thread-local storage. It changes AX only.
//
// func prepare()
TEXT ·prepare(SB), NOSPLIT|NOFRAME, $0
	LEAQ	system<>(SB), AX
	MOVQ	AX, ·systemCode(SB)
	LEAQ	cloneOnto<>(SB), AX
	MOVQ	AX, ·cloneCode(SB)
	LEAQ	endThread<>(SB), AX
	MOVQ	AX, ·endThreadCode(SB)
	RET

// system is a system call: AX is its number, BX, CX, DI, SI, R8 and R9 its arguments.
TEXT system<>(SB), NOSPLIT|NOFRAME, $0
	MOVQ	SI, R10
	MOVQ	DI, DX
	MOVQ	CX, SI
	MOVQ	BX, DI
	SYSCALL
	RET

// cloneOnto is clone(2) or clone3(2): AX is its number, BX and CX its first two arguments,
// and DI what the child calls, a Go function value, on a stack of its own.
TEXT cloneOnto<>(SB), NOSPLIT|NOFRAME, $0
	MOVQ	DI, R12	// the child has the parent's registers
	MOVQ	BX, DI
	MOVQ	CX, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	RET
child:
	XORL	R14, R14
	PXOR	X15, X15
	MOVQ	R12, DX
	CALL	(DX)
	INT	$3

// endThread is a signal handler, in the C calling convention, that ends its thread.
TEXT endThread<>(SB), NOSPLIT|NOFRAME, $0
	MOVL	$60, AX	// exit
	XORL	DI, DI
	SYSCALL
	INT	$3
