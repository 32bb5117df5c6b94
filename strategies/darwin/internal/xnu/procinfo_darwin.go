package xnu

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// procInfo calls __proc_info of libSystem, which is proc_info(2) and what libproc
// calls: raw system calls are not for programs on macOS. Nor is it by way of libproc:
// a program that names a symbol which the libSystem of an older macOS lacks, as
// proc_signal_with_audittoken, would not be loaded there, while an older kernel answers
// a call that it does not know with EINVAL.
func procInfo(call, pid, flavor int, arg uint64, buf unsafe.Pointer, size uintptr) (int, error) {
	for {
		n, _, errno := syscall_syscall6(libc_proc_info_trampoline_addr,
			uintptr(call), uintptr(pid), uintptr(flavor), uintptr(arg), uintptr(buf), size)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

var libc_proc_info_trampoline_addr uintptr

//go:cgo_import_dynamic libc_proc_info __proc_info "/usr/lib/libSystem.B.dylib"

// Implemented in the runtime package, as for golang.org/x/sys/unix.
//
//go:linkname syscall_syscall6 syscall.syscall6
func syscall_syscall6(fn, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)
