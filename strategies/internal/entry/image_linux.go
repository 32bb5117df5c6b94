//go:build linux && (amd64 || arm64 || riscv64)

package entry

// programHeaders are those of the executable, as the auxiliary vector has them,
// getauxval(3).
type programHeaders struct{ at, size, n uintptr }

const (
	elfLoad, elfNote, elfPhdr = 1, 4, 6 // elf(5), p_type
	elfGNUStack               = 0x6474e551
	elfWritable               = 2     // p_flags
	elfFlags, elfVaddr        = 4, 16 // places in Elf64_Phdr
	elfMemsz                  = 40
)

// imageEnd is where the image ends, or 0 if there is more to the program than an image that
// lies where it was linked to: a dynamic loader and what that has loaded.
//
//go:nosplit
//go:norace
func (h *programHeaders) imageEnd() (end uintptr) {
	for i := uintptr(0); i < h.n; i++ {
		p := h.at + i*h.size
		switch kind := word32(p); {
		case kind == elfPhdr && word(p+elfVaddr) != h.at: // it has been relocated
			return 0
		case kind == elfLoad:
			end = max(end, word(p+elfVaddr)+word(p+elfMemsz))
		case kind != elfPhdr && kind != elfNote && kind != elfGNUStack:
			return 0
		}
	}
	return end
}

// forget gives back what this process has mapped of the image and never writes, which is
// most of its memory: the kernel maps 16 pages for each that is touched, and the Go runtime
// has touched many. What is still needed is in the page cache, and is mapped again.
//
//go:nosplit
//go:norace
func (h *programHeaders) forget() {
	if h.imageEnd() == 0 {
		return
	}
	var at, size uintptr // of the next, because the headers are in the last
	for i := h.n; i > 0; i-- {
		p := h.at + (i-1)*h.size
		if word32(p) == elfLoad && word32(p+elfFlags)&elfWritable == 0 {
			sys(_SYS_MADVISE, at, size, _MADV_DONTNEED, 0, 0)
			at, size = word(p+elfVaddr), word(p+elfMemsz)
		}
	}
	sys(_SYS_MADVISE, at, size, _MADV_DONTNEED, 0, 0)
}
