//go:build linux && (amd64 || arm64 || riscv64)

package entry

import "unsafe"

// Start is the ELF entry of a program linked with
// -ldflags=-E=github.com/seed329817d7/contain/strategies/internal/entry.Start.
func Start()

// programFunc is program for assembly.
//
//lint:ignore U1000 it is used in assembly
var programFunc = program

var _ = programFunc // no Go code does

func becomeProgram(sp uintptr)

//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr

// The first init: this package imports nothing but unsafe, so it is initialised before
// every package that has a system call to make (Go specification, "Program
// initialization": by import path among those whose imports are ready).
func init() {
	prepare()
	aux := getAuxv() // of the stack that the kernel made
	for i := 0; i+1 < len(aux); i += 2 {
		if aux[i] == _AT_EXECFN && marked(aux[i+1]) {
			become(aux)
		}
	}
}

// marked reports whether the text at an address begins with PathMark.
//
//go:nosplit
//go:norace
func marked(at uintptr) bool {
	for i := 0; i < len(PathMark); i++ {
		if peek(at+uintptr(i)) != PathMark[i] {
			return false
		}
	}
	return true
}

// become takes this process from a Go runtime that has begun to what it is by the ELF
// entry: one thread, no handler, nothing of the runtime in use. It never returns.
func become(aux []uintptr) {
	sp := initialStack(uintptr(unsafe.Pointer(&aux[0])))
	self.goMemory, self.goMemorySize = goMemory(aux, sp)
	leaveRuntime(sp)
}

// leaveRuntime is become's way out. From here on no function may look at the
// goroutine's stack bound: another thread may have asked there for this goroutine to be
// preempted, and has ended, so nobody would ever continue it.
//
//go:nosplit
//go:norace
func leaveRuntime(sp uintptr) {
	self.mask = setMask(^uint64(0))
	endThreads()
	resetHandlers()
	becomeProgram(sp)
}

// goMemory returns where the memory of Go's runtime is: all from its heap up to the stack
// that the kernel made. It is 0, 0 where there is more to this process than the
// image of an executable below that: a dynamic loader, or a C library, into whose
// thread-local storage the kernel writes, rseq(2).
func goMemory(aux []uintptr, sp uintptr) (from, size uintptr) {
	const (
		arena     = 64 << 20 // heapArenaBytes of a 64-bit runtime
		mostStack = 8 << 20
	)
	var at [6]uintptr
	for i := 0; i+1 < len(aux); i += 2 {
		if aux[i] < uintptr(len(at)) {
			at[aux[i]] = aux[i+1]
		}
	}
	headers := programHeaders{at[_AT_PHDR], at[_AT_PHENT], at[_AT_PHNUM]}
	end := headers.imageEnd()
	from = uintptr(unsafe.Pointer(new([64]byte))) &^ (arena - 1)
	to := sp&^(mostStack-1) - mostStack
	if end == 0 || end > from || from >= to {
		return 0, 0
	}
	return from, to - from
}

// initialStack finds argc below the auxiliary vector: argc, argv, 0, envp, 0, auxv. An
// address is larger than any number of arguments.
func initialStack(auxv uintptr) uintptr {
	const size = unsafe.Sizeof(uintptr(0))
	at := auxv - 2*size // the last variable, or the end of argv
	for word(at) != 0 {
		at -= size
	}
	n := uintptr(0)
	for at -= size; word(at) != n; n++ {
		at -= size
	}
	return at
}

// endThreads ends all threads but this one, which is the first, and to which the
// goroutine that initialises packages is locked. Each ends itself, in a signal handler:
// of SIGSTKFLT, which no hardware raises and which the Go runtime blocks nowhere but
// while a thread begins. (riscv64 has no restorer, and the mask in its place, which
// makes no difference to a thread that ends.)
//
//go:nosplit
//go:norace
func endThreads() {
	act := kernelSigaction{Handler: endThreadCode, Flags: _SA_ONSTACK | _SA_RESTORER, Restorer: endThreadCode, Mask: ^uint64(0)}
	sys(_SYS_RT_SIGACTION, _SIGSTKFLT, uintptr(unsafe.Pointer(&act)), 0, 8, 0)
	pid := sys(_SYS_GETPID, 0, 0, 0, 0, 0)
	atFDCWD := _AT_FDCWD
	dir := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&taskDir[0])), _O_RDONLY|_O_CLOEXEC, 0, 0)
	pause := timespec{0, 20e3}
	// A thread of a C library may block every signal; it is left to itself, after a second.
	// The handler stays, see resetHandlers: such a thread may come to take the signal yet, on
	// a busy host one that was only about to begin.
	until := nowMillis(&Raw.ts) + 1000
	others := 1
	for rounds := 0; nowMillis(&Raw.ts) < until; rounds++ {
		others = 0
		sys(_SYS_LSEEK, uintptr(dir), 0, _SEEK_SET, 0, 0)
		for {
			n := sys(_SYS_GETDENTS64, uintptr(dir), uintptr(unsafe.Pointer(&Raw.buf[0])), uintptr(len(Raw.buf)), 0, 0)
			if n <= 0 {
				break
			}
			base := uintptr(unsafe.Pointer(&Raw.buf[0]))
			for at := base; at < base+uintptr(n); at += uintptr(peek(at+direntLen)) | uintptr(peek(at+direntLen+1))<<8 {
				if tid := number(at + direntName); tid > 0 && tid != pid {
					others++
					sys(_SYS_TGKILL, uintptr(pid), uintptr(tid), _SIGSTKFLT, 0, 0)
				}
			}
		}
		if others == 0 {
			others = numThreads() - 1
		}
		if others <= 0 {
			break
		}
		if sys(_SYS_SCHED_YIELD, 0, 0, 0, 0, 0); rounds > 20 {
			sys(_SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0, 0, 0)
		}
	}
	closeFD(dir)
	if others != 0 { // their stacks are there
		self.goMemorySize = 0
	}
}

// numThreads is how many threads this process has, or 0 if that cannot be told. It is the number
// of links of the directory of them, less the two that every directory has
// (proc_task_getattr, fs/proc/base.c). Their list alone proves nothing: it ends early
// if the thread that is next ends while it is read (next_tid), and so may be empty
// while others live. Of a thousand lists of six threads that were ending, twelve were.
//
//go:nosplit
//go:norace
func numThreads() int {
	atFDCWD := _AT_FDCWD
	if sys(_SYS_NEWFSTATAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&taskDir[0])), uintptr(unsafe.Pointer(&Raw.buf[0])), 0, 0) < 0 {
		return 0
	}
	return int(word32(uintptr(unsafe.Pointer(&Raw.buf[statNlink])))) - 2
}

var taskDir = [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/', 't', 'a', 's', 'k', 0}

// The places of d_reclen and d_name in struct linux_dirent64, getdents(2).
const (
	direntLen  = 16
	direntName = 19
)

// resetHandlers takes the Go runtime's handlers off. What is ignored stays ignored. That of
// endThreads stays until an exec, or else the action for a thread that is left would be to end
// the process.
//
//go:nosplit
//go:norace
func resetHandlers() {
	for sig := 1; sig <= NumSig; sig++ {
		if sig != _SIGSTKFLT && disposition(sig, &Raw.act) > sigIgn {
			setDisposition(sig, sigDfl, &Raw.act)
		}
	}
}
