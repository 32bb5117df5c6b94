package plain

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// environ returns the environment that this process was started with. Package
// syscall makes a map and two lists of it when it is first asked; here the strings
// stay where execve(2) has put them: behind the arguments and before the name of the
// executed file, which the auxiliary vector points to.
func environ() []string {
	if env := between(endOfArgs(), executedFile()); env != nil {
		return env
	}
	return os.Environ()
}

// endOfArgs is the address behind the last argument, 0 if that is empty.
func endOfArgs() uintptr {
	last := os.Args[len(os.Args)-1]
	if last == "" {
		return 0
	}
	return uintptr(unsafe.Pointer(unsafe.StringData(last))) + uintptr(len(last)) + 1
}

// executedFile is AT_EXECFN of getauxval(3), 0 if that is not known.
func executedFile() uintptr {
	const atExecfn = 31
	auxv, err := unix.Auxv()
	if err != nil {
		return 0
	}
	for _, entry := range auxv {
		if entry[0] == atExecfn {
			return entry[1]
		}
	}
	return 0
}

// between returns the strings that lie between two addresses, each with a NUL behind
// it; nil if it is not strings that lie there.
func between(from, to uintptr) []string {
	const most = 8 << 20 // more than execve takes
	if from == 0 || from >= to || to-from > most {
		return nil
	}
	text := unsafe.String((*byte)(pointer(from)), to-from)
	if text[len(text)-1] != 0 {
		return nil
	}
	var env []string
	for begin, i := 0, 0; i < len(text); i++ {
		if text[i] == 0 {
			env = append(env, text[begin:i])
			begin = i + 1
		}
	}
	return env
}

// pointer is an address from the kernel as a pointer.
//
//go:nocheckptr
func pointer(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }
