package supervisor

import (
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// leaveOut has the fork leave Go's memory out of the supervisor, which then has the
// executable's image, a stack of its own and a block: nothing to copy, to be copied
// when this process writes to it, or to take apart at the end. For all of that
// somebody waits, and the memory would be the supervisor's for as long as it lives.
//
// Go's memory is all that is mapped from its heap up to the stack that the kernel
// made for this process. Where more is there, or may be, nothing is left out, and
// leaveOut returns false.
func leaveOut() bool {
	var onHeap byte // as this goroutine's stack is
	low, high := uintptr(unsafe.Pointer(&onHeap))&^(arenaSize-1), mainStack()
	if !entry.OwnStacks || low >= high || imageEnd() > low {
		return false
	}
	_, _, err := unix.Syscall(unix.SYS_MADVISE, low, high-low, unix.MADV_DONTFORK)
	return err == 0 || err == unix.ENOMEM // of which the latter says that there are holes
}

// arenaSize is the size and alignment of the pieces in which a 64-bit Go runtime
// takes memory for its heap, heapArenaBytes.
const arenaSize = 64 << 20

// mainStack returns an address below the stack that the kernel made, where the
// arguments are; 0 if that is not known.
func mainStack() uintptr {
	if len(os.Args) == 0 || len(os.Args[0]) == 0 {
		return 0
	}
	const most = 8 << 20 // of it is in use
	return uintptr(unsafe.Pointer(unsafe.StringData(os.Args[0])))&^(most-1) - most
}

// imageEnd returns the end of this executable's image, or the highest address if
// there is more to it than an image: a dynamic loader, which maps what it likes where
// it likes, or thread-local storage of a C library, about whose place the kernel
// may have been told, rseq(2).
func imageEnd() (end uintptr) {
	const unknown = ^uintptr(0)
	if !eachSegment(func(p *programHeader) bool {
		if p.kind == load {
			end = max(end, p.vaddr+p.memsz)
		}
		return p.kind == load || p.kind == phdr || p.kind == note || p.kind == gnuStack
	}) || end == 0 {
		return unknown
	}
	return end
}

// dropText unmaps, page by page, this executable's code and constants, most of which a
// process that only waits does not need again. What it does need is found in the page
// cache. Of the 3.9 MiB (PSS) of contain run and its supervisor that leaves 2.2. A debugger's
// breakpoints, which are changes of the code, are lost.
func dropText() {
	eachSegment(func(p *programHeader) bool {
		if p.kind == load && p.flags&writable == 0 {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, p.vaddr&^(pageSize-1), p.filesz, unix.MADV_DONTNEED)
		}
		return true
	})
}

const pageSize = 4096 // that of the linker's segments is a multiple

// p_type and p_flags, elf(5).
const (
	load, note, phdr = 1, 4, 6
	gnuStack         = 0x6474e551
	writable         = 2
)

// eachSegment calls f for the program headers of this executable while that returns true,
// and reports whether it always did. It is false for one that has been relocated.
func eachSegment(f func(*programHeader) bool) bool {
	const atPhdr, atPhent, atPhnum = 3, 4, 5 // getauxval(3)
	var at [6]uintptr
	auxv, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, entry := range auxv {
		if entry[0] < uintptr(len(at)) {
			at[entry[0]] = entry[1]
		}
	}
	for i := range at[atPhnum] {
		p := (*programHeader)(pointer(at[atPhdr] + i*at[atPhent]))
		if p.kind == phdr && p.vaddr != at[atPhdr] || !f(p) {
			return false
		}
	}
	return true
}

// programHeader is Elf64_Phdr, elf(5).
type programHeader struct {
	kind, flags                                uint32
	offset, vaddr, paddr, filesz, memsz, align uintptr
}

// pointer is an address from the kernel as a pointer.
//
//go:nocheckptr
func pointer(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// A block has all that the supervisor reads through pointers. It is apart from Go's
// memory, see leaveOut, and lives as long as this process.
type block struct {
	rest []byte
}

// newBlock returns a block of size bytes.
func newBlock(size int) (block, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return block{}, os.NewSyscallError("mmap", err)
	}
	return block{unsafe.Slice((*byte)(p), size)}, nil
}

// taken is what a block needs for n bytes, which then are aligned.
func taken(n int) int { return (n + 7) &^ 7 }

func (b *block) take(n int) unsafe.Pointer {
	p := unsafe.Pointer(unsafe.SliceData(b.rest[:n]))
	b.rest = b.rest[taken(n):]
	return p
}

const wordSize = int(unsafe.Sizeof(uintptr(0)))

// textSize is what a block needs for v, or EINVAL.
func textSize(v string) (int, error) {
	if strings.IndexByte(v, 0) >= 0 {
		return 0, unix.EINVAL
	}
	return taken(len(v) + 1), nil
}

// text puts v into the block, with a NUL behind it.
func (b *block) text(v string) unsafe.Pointer {
	p := b.take(len(v) + 1)
	copy(unsafe.Slice((*byte)(p), len(v)), v)
	return p
}

// listSize is what a block needs for v, or EINVAL.
func listSize(v []string) (int, error) {
	size := taken((len(v) + 1) * wordSize)
	for _, s := range v {
		n, err := textSize(s)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// list puts v into the block as execve(2) takes it.
func (b *block) list(v []string) unsafe.Pointer {
	p := b.take((len(v) + 1) * wordSize)
	addresses := unsafe.Slice((*unsafe.Pointer)(p), len(v))
	for i, s := range v {
		addresses[i] = b.text(s)
	}
	return p
}
