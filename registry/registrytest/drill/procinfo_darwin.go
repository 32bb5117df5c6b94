package drill

import (
	"syscall"
	_ "unsafe" // for go:linkname
)

var libc_proc_info_trampoline_addr uintptr

// __proc_info is proc_info(2), by way of libSystem.
//
//go:cgo_import_dynamic libc_proc_info __proc_info "/usr/lib/libSystem.B.dylib"

// Implemented in the runtime package, as for golang.org/x/sys/unix.
//
//go:linkname syscall_syscall6 syscall.syscall6
func syscall_syscall6(fn, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)
